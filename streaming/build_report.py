"""What it takes to build a released transformer here, measured: `python -m
millrace.streaming.build_report wan2.1-1.3b`.

Seconds and memory of making it with random weights or loading it from files, and of one pass.
Memory is told in two numbers: what the process owns (`own`), and all that is resident, mapped
files among it, which the system takes back when it needs room (`resident`).
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from ..models.checkpoints import load_causal_wan, random_causal_wan
from ..models.dit import CausalDiT
from ..models.policies import STREAMDIFFUSION_V2
from ..models.specs import WAN_1_3B, WAN_14B, DiTSpec
from .clock import SystemClock

SIZES: Mapping[str, DiTSpec] = {"wan2.1-1.3b": WAN_1_3B, "wan2.1-14b": WAN_14B}
SHARD_BYTES = 2**30
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Report:
    """All memory in MiB.

    Attributes:
        weights: of the tensors of the model.
        build_seconds, build_cpu: until it is ready to run; seconds on the clock, which other work
            on the machine makes longer, and seconds of computing.
        own_peak, resident_peak: while it was built; `own` beyond what the process had before.
        state: rings and prompt of one stream at one noise level.
        first_seconds, pass_seconds, pass_cpu: the first pass also brings weights into the form that
            this device wants; the others are the best of those after it. None without a pass.
        own_after: beyond what the process had before, after the passes.
    """

    model: str
    dtype: str
    parameters: int
    weights: float
    build_seconds: float
    build_cpu: float
    own_peak: float
    resident_peak: float
    state: float | None = None
    first_seconds: float | None = None
    pass_seconds: float | None = None
    pass_cpu: float | None = None
    own_after: float | None = None


def memory(field: str) -> float:
    """A field of this process's status (`RssAnon`, `VmHWM`), in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024


def computed() -> float:
    """Seconds of computing that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class OwnPeak:
    """The most memory of its own that the process had, looked at after each tensor."""

    def __init__(self) -> None:
        self.before = memory("RssAnon")
        self.most = 0.0

    def look(self, *progress: int) -> None:
        self.most = max(self.most, memory("RssAnon") - self.before)


def build(name: str, dtype: torch.dtype, weights: Path | None) -> tuple[CausalDiT, Report, OwnPeak]:
    """The model on the CPU, from files or random, and what that took."""
    clock, peak = SystemClock(), OwnPeak()
    spec = STREAMDIFFUSION_V2.spec(SIZES[name])
    began, used = clock.now(), computed()
    if weights is None:
        model = random_causal_wan(spec, "cpu", dtype)
    else:
        model = load_causal_wan(spec, weights, "cpu", dtype, progress=peak.look)
    seconds = clock.now() - began
    peak.look()
    parameters = list(model.parameters())
    report = Report(
        name,
        str(dtype).removeprefix("torch."),
        sum(p.numel() for p in parameters),
        sum(p.nbytes for p in parameters) / MIB,
        seconds,
        computed() - used,
        peak.most,
        memory("VmHWM"),
    )
    return model, report, peak


@torch.no_grad()
def run(
    model: CausalDiT, report: Report, peak: OwnPeak, size: tuple[int, int], passes: int
) -> Report:
    """The report with the time of a pass over one latent frame of pictures of `size`."""
    clock, (height, width) = SystemClock(), size
    weight = model.patch_embedding.weight
    latent = (height // 8, width // 8)
    state = model.init_state(1, *latent, 1, weight.device, weight.dtype)
    spec = model.spec
    context = torch.randn(1, spec.text_len, spec.text_dim).to(weight)
    model.set_context(state, torch.arange(1), context)
    x = torch.randn(1, 1, spec.in_channels, *latent).to(weight)
    times, work = [], []
    for _ in range(1 + passes):
        began, used = clock.now(), computed()
        model(x, torch.full((1, 1), 700.0), state)
        state.ring.commit(None)
        times.append(clock.now() - began)
        work.append(computed() - used)
    peak.look()
    return replace(
        report,
        state=state.nbytes / MIB,
        first_seconds=times[0],
        pass_seconds=min(times[1:], default=None),
        pass_cpu=min(work[1:], default=None),
        own_after=memory("RssAnon") - peak.before,
    )


def save_shards(model: CausalDiT, folder: Path) -> None:
    """Write the weights as the hub has them: shards and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, torch.Tensor]] = [{}]
    for name, value in model.state_dict().items():
        if sum(v.nbytes for v in parts[-1].values()) + value.nbytes > SHARD_BYTES and parts[-1]:
            parts.append({})
        parts[-1][name] = value
    where: dict[str, str] = {}
    for number, part in enumerate(tqdm(parts, desc="writing", unit="file"), 1):
        file = f"diffusion_pytorch_model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, folder / file)
        where |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(v.nbytes for p in parts for v in p.values())}}
    path = folder / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps({**index, "weight_map": where}))


def table(report: Report) -> str:
    """The report as lines of text; what was not measured is left out."""
    told = {name: value for name, value in asdict(report).items() if value is not None}
    return "\n".join(
        f"{name:<16}{value:>14,.1f}" if isinstance(value, float) else f"{name:<16}{value:>14}"
        for name, value in told.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m millrace.streaming.build_report", description=__doc__
    )
    parser.add_argument("model", choices=SIZES)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--weights", type=Path, help="file or folder; without it random ones")
    parser.add_argument("--save", type=Path, help="write them there in shards, to be loaded")
    parser.add_argument("--size", default="128x128", help="of pictures, width x height")
    parser.add_argument("--passes", type=int, default=2, help="after the first; -1 for none at all")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    width, height = (int(side) for side in given.size.split("x"))
    model, report, peak = build(given.model, getattr(torch, given.dtype), given.weights)
    if given.save is not None:
        save_shards(model, given.save)
    if given.passes >= 0:
        report = run(model, report, peak, (height, width), given.passes)
    print(json.dumps(asdict(report)) if given.json else table(report))


if __name__ == "__main__":
    main()
