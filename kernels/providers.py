"""Modules that register candidates, imported only when a device of their type is first asked for.

So importing the kernels stays cheap, and a machine without Triton works as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class Provider:
    """A module of this package with candidates.

    Attributes:
        device: device type that they are for.
        module: its name within this package, as "triton_norm" or "triton.norm".
        needs: package that it imports; where that is not installed the module is left out.
    """

    device: str
    module: str
    needs: str


PROVIDERS: tuple[Provider, ...] = (
    Provider("cuda", "library_attention", "torch"),
    Provider("cuda", "library_conv", "torch"),
    *(
        Provider("cuda", f"triton.{module}", "triton")
        for module in (
            "clip",
            "color",
            "noise",
            "norm",
            "ring_attention",
            "ring_input",
            "rows",
            "turn",
        )
    ),
)


@cache
def load(device: str) -> dict[str, str]:
    """Import what there is for a device type; module -> "" or why it was left out."""
    told = {}
    for provider in PROVIDERS:
        if provider.device != device:
            continue
        if find_spec(provider.needs) is None:
            told[provider.module] = f"{provider.needs} is not installed"
            continue
        import_module(f".{provider.module}", __package__)
        told[provider.module] = ""
    return told
