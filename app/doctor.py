"""`millrace doctor`: what this machine has, what was chosen for it, and the measured reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import assets
from . import machine


def run(as_json: bool) -> None:
    """Print the report."""
    report = examine()
    if as_json:
        print(json.dumps(report, indent=2))
        return
    print("\n".join(lines(report)))


def examine() -> dict[str, Any]:
    """Machine, packages, torch, codecs, browser and shipped files, as plain data."""
    return machine.facts() | {
        "torch": torch_facts(),
        "codecs": machine.codecs(),
        "browser": machine.browser(),
        "assets": asset_state(),
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
    return [f"{name:<10} {text}" for name, text in rows]
