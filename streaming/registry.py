"""From a pipeline's name to what builds it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, cast

from .config import SCHEDULES, ConfigError
from .eight_bits import OPTIONS as EIGHT_BITS
from .pipeline import Pipeline, PipelineContext, PipelineFactory, PipelineInfo

GROUP = "millrace.pipelines"
"""Entry-point group in which packages offer pipelines."""
COMMON = frozenset({"max_sessions", "schedule", "size"})
"""Options that the engine gives to every pipeline."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A pipeline that comes with the package.

    Attributes:
        module, factory: where it is made, the module in this folder.
        options: names of `PipelineContext.options` that it reads, besides `COMMON`.
    """

    module: str
    factory: str
    options: tuple[str, ...] = ()


_LOADED = ("weights", "random_weights")
_WAN = (*_LOADED, *EIGHT_BITS, "graphs", "policy", "queues", "steps", "vae")
_UNET = (*_LOADED, "condition", "controlnet", "frame_buffer", "graphs", "lora")
BUILT_IN = {
    "tiny": BuiltIn("tiny", "build", (*EIGHT_BITS, "graphs", "queues", "random_weights")),
    "tiny-dream": BuiltIn("dream", "build", (*_LOADED, "graphs", "steps")),
    "wan2.1-1.3b": BuiltIn("wan", "build_small", _WAN),
    "wan2.1-14b": BuiltIn("wan", "build_large", _WAN),
    "sd-turbo": BuiltIn("sd_build", "build_turbo", _UNET),
    "sd1.5-lcm": BuiltIn("sd_build", "build_lcm", _UNET),
    "passthrough": BuiltIn("passthrough", "Passthrough", ("chunk",)),
}


def names() -> list[str]:
    """All names that `load_pipeline` knows without being told a module."""
    return [*BUILT_IN, *sorted({point.name for point in entry_points(group=GROUP)} - {*BUILT_IN})]


def load_pipeline(name: str) -> PipelineFactory:
    """The factory behind a built-in name, an entry point's name, or "module:Name".

    Raises:
        ConfigError: no such name, module or attribute, or it cannot be called.
    """
    if ":" in name:
        return _from_module(name)
    if name in BUILT_IN:
        own = BUILT_IN[name]
        found = getattr(importlib.import_module(f".{own.module}", __package__), own.factory)
        return cast(PipelineFactory, found)
    for point in entry_points(group=GROUP, name=name):
        return _from_module(point.value)
    raise ConfigError(
        f"no pipeline is called {name!r}; there are {', '.join(names())}, "
        "or name your own as package.module:Name"
    )


def build_pipeline(name: str, context: PipelineContext) -> Pipeline:
    """Load, build and check a pipeline.

    Raises:
        ConfigError: see `load_pipeline` and `check_options`, or what was built does not follow the
            protocol.
    """
    check_options(name, context.options)
    pipeline = load_pipeline(name)(context)
    check_pipeline(name, pipeline)
    return pipeline


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Whether a built-in pipeline reads all that it is given: what it does not read would be
    dropped without a word. A pipeline of somebody else's checks its own.

    Raises:
        ConfigError: an option that it does not know, or an unknown schedule.
    """
    if name not in BUILT_IN:
        return
    own = BUILT_IN[name].options
    odd = sorted(options.keys() - {*COMMON, *own})
    if odd:
        known = ", ".join(sorted({*own, "schedule"} - {*_LOADED}))
        raise ConfigError(f"{name} has no option {', '.join(odd)}; it knows {known}")
    if options.get("schedule", SCHEDULES[0]) not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ConfigError(f"schedule: {options['schedule']!r} is not one of {known}")


def check_pipeline(name: str, pipeline: Any) -> None:
    """Whether the object has what the engine calls.

    Raises:
        ConfigError: something is missing or of the wrong kind; the message says what.
    """
    missing = [m for m in ("open", "step", "close") if not callable(getattr(pipeline, m, None))]
    if missing:
        raise ConfigError(
            f"pipeline {name}: {type(pipeline).__name__} has no method {', '.join(missing)}; "
            "see millrace.streaming.pipeline.Pipeline"
        )
    info = getattr(pipeline, "info", None)
    if not isinstance(info, PipelineInfo):
        raise ConfigError(
            f"pipeline {name}: its `info` is {type(info).__name__}; "
            "please make it a millrace.streaming.pipeline.PipelineInfo"
        )
    if info.chunk < 1 or info.size_multiple < 2 or info.size_multiple % 2:
        raise ConfigError(
            f"pipeline {name}: chunk is {info.chunk} and size_multiple {info.size_multiple}; "
            "a chunk has at least one frame, and sides are even"
        )


def _from_module(path: str) -> PipelineFactory:
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{path!r} is not of the form package.module:Name")
    if (here := os.getcwd()) not in sys.path:
        # A console script does not look in the current folder. Last, so that it hides nothing.
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"pipeline {path}: {module_name} needs the module {error.name}, which is not "
                "installed"
            ) from error
        raise ConfigError(
            f"pipeline {path}: there is no module {error.name}; run from its folder, install it, "
            "or add its folder to PYTHONPATH"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"pipeline {path}: module {module_name} has no {attribute}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"pipeline {path}: it is a {type(found).__name__}; expected a class or function that "
            "takes a PipelineContext"
        )
    return cast(PipelineFactory, found)
