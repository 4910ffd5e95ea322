"""`millrace doctor`: what this machine has, what was chosen for it, and the measured reason."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .. import assets
from ..models.released import RELEASED, folder_of
from ..streaming import kernel_choices
from ..streaming.allocator import keep_freed_memory
from ..streaming.assemble import quiet_threads
from ..streaming.clock import SystemClock
from ..streaming.config import Options, resolve
from . import machine, weights
from .hub_lock import state


def run(as_json: bool, fresh: bool, compare_cores: bool = False) -> None:
    """Print the report.

    Args:
        fresh: measure again, even where an earlier measurement is kept.
        compare_cores: measure first whether the model runs better on cores of its own.

    Raises:
        CallError, CommandError: see `bench_cores.compare`.
    """
    if compare_cores:
        quiet_threads(os.environ)
        from . import bench_cores

        bench_cores.compare(Options())
    report = examine(fresh)
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print("\n".join(lines(report)))


def examine(fresh: bool = False) -> dict[str, Any]:
    """Machine, packages, torch, choices, codecs, browser and shipped files, as plain data."""
    chosen = choices(fresh)  # first: it sets how torch waits, which only counts before its import
    return machine.facts() | {
        "torch": torch_facts(),
        "chosen": chosen,
        "kernels": kernel_facts(os.environ),
        "captions": caption_facts(),
        "models": model_facts(os.environ),
        "codecs": machine.codecs(),
        "browser": machine.browser(),
        "assets": asset_state(),
    }


def choices(fresh: bool) -> dict[str, Any]:
    """What `serve` would run with here, why, and the measurement behind it."""
    memory, waiting = keep_freed_memory(), quiet_threads(os.environ)
    from ..streaming.calibrate import measure
    from ..streaming.recorders import reason

    asked = Options()
    facts = measure(asked, SystemClock(), fresh=fresh)
    config = resolve(asked, facts)
    return {
        "device": config.device,
        "dtype": config.dtype,
        "threads": config.threads,
        "schedule": config.schedule,
        "reasons": [*config.choices, reason(config.device), waiting, memory],
        "timings_ms": [asdict(timing) for timing in facts.timings],
    }


def torch_facts() -> dict[str, Any]:
    """What torch found: instruction set that it uses, oneDNN, and GPUs."""
    import torch

    gpus = [
        {"name": p.name, "memory_mb": p.total_memory >> 20, "capability": f"{p.major}.{p.minor}"}
        for p in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
    return {
        "version": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "onednn": torch.backends.mkldnn.is_available(),
        "gpus": gpus,
    }


def kernel_facts(environ: Mapping[str, str]) -> dict[str, Any]:
    """What computes each operation on the processor, what is kept of measurements on the first
    GPU, and what could not be loaded."""
    import torch

    from ..kernels import providers
    from ..kernels.dispatch import explain
    from ..kernels.table import Machine, Table
    from ..streaming.calibrate import cache_folder

    left_out = {name: why for name, why in providers.load("cuda").items() if why}
    facts: dict[str, Any] = {"cpu": explain("cpu"), "gpu": None, "left_out": left_out}
    if torch.cuda.is_available():
        table = Table(Machine.of("cuda:0"), cache_folder(environ) / kernel_choices.FILE)
        said = list(kernel_choices.of_table(table))
        facts["gpu"] = {"told": said, "choices": table.plain()}
    return facts


def caption_facts() -> dict[str, Any]:
    """Which language model would tell about the pictures here, and whether it can."""
    from ..models.vl import tiny_vl
    from ..streaming.captions.registry import device_for

    device, why = device_for("auto")
    try:
        assets.path(tiny_vl.WEIGHTS)
        state = "ok"
    except assets.AssetError as error:
        state = str(error)
    return {"vlm": "tiny", "title": tiny_vl.TITLE, "device": device, "why": why, "weights": state}


def model_facts(environ: Mapping[str, str]) -> dict[str, Any]:
    """Where pulled models lie, and which of the released ones are there."""
    folder = weights.root(None, environ)
    states = {name: state(model, folder_of(name, folder)) for name, model in RELEASED.items()}
    here = {name: found for name, found in states.items() if found != "not pulled"}
    return {"folder": str(folder), "here": here, "others": sorted({*states} - {*here})}


def kernel_lines(kernels: Mapping[str, Any]) -> list[str]:
    """What was chosen for the processor and the GPU, a sentence each."""
    own = sum(not name.endswith("_reference") for name in kernels["cpu"].values())
    told = [
        f"processor: {own} of {len(kernels['cpu'])} operations in a form made for it, the others "
        "as PyTorch has them (fixed; `millrace bench kernels` measures them)"
    ]
    if kernels["gpu"] is not None:
        told += kernels["gpu"]["told"]
    reasons = dict.fromkeys(kernels["left_out"].values())
    return told + [f"left out: {why}" for why in reasons]


def asset_state() -> dict[str, str]:
    """ "ok" or what is wrong, for each shipped file."""
    state = {}
    for name, asset in assets.manifest().items():
        try:
            assets.verify(asset)
            state[name] = "ok"
        except assets.AssetError as error:
            state[name] = str(error)
    return state


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report as text, one fact a line."""
    cpu, torch, memory = report["cpu"], report["torch"], report["memory_mb"]
    missing = [name for name, there in report["codecs"].items() if not there]
    broken = [text for text in report["assets"].values() if text != "ok"]
    gpus = [f"{gpu['name']}, {gpu['memory_mb']} MB" for gpu in torch["gpus"]]
    rows = [
        ("millrace", f"{report['millrace']} on Python {report['python']}, {report['system']}"),
        ("processor", f"{cpu['model']}, {cpu['usable_cores']:g} of {cpu['cores']} cores usable"),
        ("features", " ".join(cpu["flags"]) or "none that matter"),
        ("memory", f"{memory.get('available', 0)} of {memory.get('total', 0)} MB available"),
        ("load", " ".join(map(str, report["load_average"]))),
        ("torch", f"{torch['version']}, uses {torch['cpu_capability']}"),
        ("gpu", "; ".join(gpus) or "none; the model runs on the CPU"),
        ("packages", ", ".join(f"{k} {v}" for k, v in report["packages"].items() if k != "torch")),
        ("codecs", "all there" if not missing else f"missing: {', '.join(missing)}"),
        ("browser", report["browser"] or "no Chromium (only the browser tests need one)"),
        ("switches", " ".join(f"{k}={v}" for k, v in report["switches"].items()) or "none set"),
        ("files", "; ".join(broken) or f"{len(report['assets'])} shipped files intact"),
    ]
    rows += [("kernels", text) for text in kernel_lines(report["kernels"])]
    told = report["captions"]
    trouble = "" if told["weights"] == "ok" else f"; {told['weights']}"
    rows.append(("captions", f"{told['title']} (--vlm {told['vlm']}){trouble}. {told['why']}"))
    kept = report["models"]
    here = ", ".join(f"{name} ({found})" for name, found in kept["here"].items())
    rows.append(("models", f"{here or 'none pulled'}, in {kept['folder']}"))
    chosen = [("chosen", reason) for reason in report["chosen"]["reasons"]]
    return [f"{name:<10} {text}" for name, text in rows + chosen]
