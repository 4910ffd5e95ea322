"""What was asked (`Options`, may say auto) and what will run (`Config`, complete and frozen)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .cores import Compared


class ConfigError(ValueError):
    """A wrong or impossible setting; the message names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user typed. "auto" and 0 mean: measure or derive it (see `resolve`)."""

    pipeline: str = "tiny"
    """A built-in model name, an entry point's name, or "module:Name"."""
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    width: int = 256
    height: int = 256
    fps: float = 30.0
    schedule: str = "auto"
    """"stream" (all noise levels in one batch), "sequential" (one after another) or auto."""
    max_sessions: int = 4
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further options for the pipeline, by name."""
    devices: tuple[str, ...] = ()
    """One worker each; empty for `device` alone, or for all GPUs where that says auto."""
    queue: int = 8
    """Viewers that may wait for a place; further ones are refused."""
    cores: str = "auto"
    """"apart" (the model's threads have cores of their own), "shared" or auto: as was measured."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One measurement: milliseconds for the sample work with a data type and a thread count."""

    dtype: str
    threads: int
    ms: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What this machine is and how fast it did the sample work (see `calibrate`)."""

    cores: int
    """Cores that this process may use."""
    gpus: tuple[str, ...] = ()
    """Names of the CUDA devices, by index."""
    timings: tuple[Timing, ...] = ()
    """On the CPU; empty when nothing had to be measured."""
    can_bind: bool = False
    """Whether processes can be bound to cores."""
    compared: Compared | None = None
    """Cores of the model's own against shared ones; None where that was not measured."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The engine's own part of a `Config`."""

    device: str = "cpu"
    max_sessions: int = 4
    overlap: bool = False
    """Send a batch out while the next one runs; for devices that work beside the CPU."""
    policy: str = "millrace"
    """How live chunks are scheduled, see `scheduling.policies.policy_named`."""
    choose_order: bool = False
    """Decide for each live session, by what is measured, if a chunk's passes run one after another
    or as a stream batch; else the pipeline does as it was told."""
    size: tuple[int, int] = (0, 0)
    """Width and height that most sessions will have, which is what is measured at the start; where
    the pipeline does not take it, or for (0, 0), what the pipeline prefers."""
    least_deadline: float = 0.060
    """Seconds that a chunk has at least where its session names no deadline, see
    `least_deadline`."""


@dataclass(frozen=True, slots=True)
class Config:
    """What will run: complete, nothing left to choose."""

    pipeline: str
    device: str
    dtype: str
    threads: int
    width: int
    height: int
    fps: float
    schedule: str
    engine: EngineConfig
    settings: Mapping[str, Any]
    choices: tuple[str, ...]
    """One sentence for each choice, with its reason."""
    apart: bool = False
    """Whether the model's threads have cores of their own."""


DTYPES = ("float32", "bfloat16")
SCHEDULES = ("stream", "sequential")
CORES = ("apart", "shared")
CORE_GAIN = 1.1
"""An engine that has the machine for itself takes all cores if they are at least this much faster
than all but one."""


def resolve(options: Options, facts: Facts, alone: bool = False) -> Config:
    """Fill in what the user left open. A pure function of its arguments.

    Args:
        alone: nothing beside the engine needs the processor. Otherwise one core is left to the
            video codec and the browser, even where the engine itself would be faster with it: on
            two cores a live stream got 18.7 frames a second with one thread and 15.8 with two.

    Raises:
        ConfigError: a setting that is wrong or that this machine cannot do.
    """
    _check_numbers(options)
    _check_choice("dtype", options.dtype, DTYPES)
    _check_choice("schedule", options.schedule, SCHEDULES)
    _check_choice("cores", options.cores, CORES)
    device, device_why = _device(options.device, facts)
    dtype, dtype_why = _dtype(options.dtype, device, facts)
    threads, threads_why = _threads(options.threads, dtype, device, facts, alone)
    schedule, schedule_why = _schedule(options.schedule, device)
    apart, cores_why = (False, "") if alone else _cores(options.cores, device, threads, facts)
    return Config(
        pipeline=options.pipeline,
        device=device,
        dtype=dtype,
        threads=threads,
        width=options.width,
        height=options.height,
        fps=options.fps,
        schedule=schedule,
        engine=EngineConfig(
            device,
            options.max_sessions,
            overlap=device != "cpu",
            choose_order=options.schedule == "auto",
            size=(options.width, options.height),
            least_deadline=least_deadline(device),
        ),
        settings=options.settings,
        choices=tuple(filter(None, (device_why, dtype_why, threads_why, schedule_why, cores_why))),
        apart=apart,
    )


def least_deadline(device: str) -> float:
    """Seconds that a chunk has at least. A camera's deadline follows its rate, but no device keeps
    one that is shorter than a few launches: some 10 ms each on a GPU, 50 on a CPU."""
    return 0.200 if device.startswith("cpu") else 0.060


def _check_numbers(options: Options) -> None:
    if options.width <= 0 or options.height <= 0 or options.width % 2 or options.height % 2:
        raise ConfigError(
            f"size: {options.width}x{options.height} is not possible; "
            "please use even, positive sides, 256x256 say"
        )
    if not 0 < options.fps <= 1000:
        raise ConfigError(f"fps: {options.fps} is outside 0 to 1000; 30 is usual")
    if options.max_sessions < 1:
        raise ConfigError(f"max_sessions: {options.max_sessions}; at least one session is needed")
    if options.threads < 0:
        raise ConfigError(f"threads: {options.threads}; give a positive number, or 0 to measure")


def whole_number(name: str, given: object, most: int) -> int:
    """A pipeline's option that is a count; from the command line it is a text.

    Raises:
        ConfigError: it is none, or not one of 1 to `most`.
    """
    text = str(given)
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    raise ConfigError(f"{name}: {text} is not a whole number from 1 to {most}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in (*choices, "auto"):
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(choices)}, auto")


def _device(asked: str, facts: Facts) -> tuple[str, str]:
    if asked == "auto":
        if facts.gpus:
            return "cuda:0", f"Device: cuda:0, the first GPU ({facts.gpus[0]})."
        return "cpu", "Device: cpu, as there is no CUDA GPU."
    if asked == "cpu":
        return "cpu", "Device: cpu, as asked."
    kind, _, number = asked.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise ConfigError(f"device: {asked!r} is not one of auto, cpu, cuda, cuda:N")
    index = int(number or "0")
    if index >= len(facts.gpus):
        raise ConfigError(
            f"device: {asked} is not there, this machine has {len(facts.gpus)} CUDA GPUs; "
            "use --device cpu, or install a PyTorch build with CUDA if there is a GPU"
        )
    return f"cuda:{index}", f"Device: cuda:{index} ({facts.gpus[index]}), as asked."


def _dtype(asked: str, device: str, facts: Facts) -> tuple[str, str]:
    if asked != "auto":
        return asked, f"Data type: {asked}, as asked."
    if device != "cpu":
        return "bfloat16", "Data type: bfloat16, the native type of the GPU's matrix units."
    best = {
        dtype: min((t.ms for t in facts.timings if t.dtype == dtype), default=None)
        for dtype in DTYPES
    }
    slow, fast = best["float32"], best["bfloat16"]
    if slow is None or fast is None:
        return "float32", "Data type: float32, which every CPU runs; nothing was measured."
    winner = "bfloat16" if fast < slow else "float32"
    return winner, (
        f"Data type: {winner}; the sample work took {fast:.1f} ms in bfloat16 "
        f"and {slow:.1f} ms in float32."
    )


def _threads(asked: int, dtype: str, device: str, facts: Facts, alone: bool) -> tuple[int, str]:
    if asked:
        return asked, f"Threads: {asked}, as asked."
    if device != "cpu":
        count = min(4, facts.cores)
        return count, f"Threads: {count}; the GPU does the work, these only feed it."
    timings = {t.threads: t.ms for t in facts.timings if t.dtype == dtype}
    if not timings:
        count = max(1, min(4, facts.cores - 1))
        return count, f"Threads: {count} of {facts.cores} cores; nothing was measured."
    spare = {n: ms for n, ms in timings.items() if n < facts.cores} or timings
    count = min(spare, key=lambda n: spare[n])
    why = "one core stays free for the video codec and the browser"
    if alone:
        fastest = min(timings, key=lambda n: timings[n])
        count = fastest if timings[count] / timings[fastest] >= CORE_GAIN else count
        why = f"all cores are worth it if at least {CORE_GAIN} times as fast"
    measured = ", ".join(f"{ms:.1f} ms with {n}" for n, ms in sorted(timings.items()))
    return (
        count,
        f"Threads: {count} of {facts.cores} cores; the sample work took {measured}; {why}.",
    )


def _schedule(asked: str, device: str) -> tuple[str, str]:
    if asked != "auto":
        return asked, f"Schedule: {asked}, as asked."
    if device == "cpu":
        return "sequential", (
            "Schedule: sequential; a CPU is busy either way, and so a frame waits for no later one."
        )
    return "stream", "Schedule: stream; one larger batch uses a GPU better than several small ones."


def _cores(asked: str, device: str, threads: int, facts: Facts) -> tuple[bool, str]:
    why_not = ""
    if device != "cpu":
        why_not = "the GPU does the work"
    elif not facts.can_bind:
        why_not = "this system does not bind processes to cores"
    elif threads >= facts.cores:
        why_not = f"{threads} threads of the model leave none of {facts.cores} cores for the rest"
    if why_not and asked == "apart":
        raise ConfigError(f"cores: apart is not possible, as {why_not}; use --cores shared")
    if why_not or asked == "shared":
        return False, f"Cores: shared; {why_not or 'as asked'}."
    if asked == "apart":
        return True, f"Cores: {threads} of {facts.cores} for the model alone, as asked."
    if facts.compared is None:
        return False, "Cores: shared; not measured yet (millrace doctor --cores compares)."
    if facts.compared.apart:
        found = f"Cores: {threads} of {facts.cores} for the model alone"
    else:
        found = "Cores: shared; apart was not better in every round"
    return facts.compared.apart, f"{found}; {facts.compared.told()}."
