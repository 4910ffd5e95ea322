"""`millrace models`: what there is, where it comes from and whether it is intact."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from .. import assets
from ..models.released import RELEASED, Part, Released, folder_of
from . import hub_lock, hub_pull, hub_verify, weights
from .errors import CallError, CommandError
from .hub_pull import Wish, size_text
from .hub_verify import Finding


@dataclass(frozen=True, slots=True)
class Shipped:
    """One model that comes with the package.

    Attributes:
        name: as written on the command line.
        about: one line on what it does.
        prefixes: its files are those of the manifest that start with one of these.
        option: where its name is given.
    """

    name: str
    about: str
    prefixes: tuple[str, ...] = ()
    option: str = "--model"

    def files(self) -> tuple[assets.Asset, ...]:
        found = sorted(assets.manifest().items())
        return tuple(asset for name, asset in found if name.startswith(self.prefixes))


SHIPPED = (
    Shipped(
        "tiny",
        "restyles video on a CPU; learned a fixed set of looks; shipped",
        ("tiny_video", "tiny_prompts"),
    ),
    Shipped(
        "tiny-dream",
        "draws video from words on a CPU; learned some twenty kinds of scenes; shipped",
        ("tiny_scene",),
    ),
    Shipped("passthrough", "returns every picture unchanged; tests transport"),
    Shipped(
        "tiny", "tells what happens and answers questions on a CPU; shipped", ("tiny_vl",), "--vlm"
    ),
)


def installed() -> tuple[Shipped, ...]:
    """Those whose files came with this installation."""
    return tuple(model for model in SHIPPED if model.files() or not model.prefixes)


USUAL_SIZE = (832, 480)
USUAL_UNET_SIZE = (512, 512)
USUAL_STEPS = 2
USUAL_POLICY = "streamdiffusionv2"
"""What the memory of a model is told for."""


def show(models: Path, as_json: bool) -> None:
    """Print the models and what each is made of.

    Args:
        models: the folder of all pulled models.
    """
    if as_json:
        rows = [_shipped_row(m) for m in installed()]
        rows += [_released_row(m, models) for m in RELEASED.values()]
        print(json.dumps(rows, indent=2))
        return
    for shipped in installed():
        print(f"{f'{shipped.option} {shipped.name}':<27} {shipped.about}")
        for asset in shipped.files():
            print(f"{'':<27} {asset.name}  {size_text(asset.bytes)}  {asset.licence}")
    told: dict[Part, str] = {}
    for model in RELEASED.values():
        print("\n".join(_lines(model, models, told)))
    print("Sizes and licences are as publicly recorded; `pull` asks the hub again and shows them.")


def _lines(model: Released, models: Path, told: dict[Part, str]) -> Iterator[str]:
    """A model as text; `told` has the parts of those before, and where they were."""
    folder = folder_of(model.name, models)
    yield f"{_option(model):<27} {model.about}; {hub_lock.state(model, folder)}"
    yield f"{'':<27} memory: {needed(model)}"
    for part in model.parts:
        if part not in told:
            doubt = "" if part.verified else "  (not confirmed)"
            size = size_text(part.bytes)
            yield f"{'':<27} {part.role:<12} {part.repo}  {size}  {part.licence}{doubt}"
    for before in dict.fromkeys(told[part] for part in model.parts if part in told):
        shared = ", ".join(part.role for part in model.parts if told.get(part) == before)
        yield f"{'':<27} and of {before}: {shared}"
    told |= {part: model.name for part in model.parts if part not in told}


def needed(model: Released) -> str:
    """The memory that a model takes on its device, in words."""
    if model.family == "sd":
        return _needed_by_unet(model.spec)
    if model.family != "wan":
        return f"{size_text(model.bytes)} of weights, and what its viewers need"
    # Here, as only this needs them.
    from ..models.estimate import estimate, told
    from ..models.policies import policy_named
    from ..models.specs import WAN_AUTOENCODERS
    from ..models.wan_sizes import WAN_SPECS

    policy = policy_named(model.policy or USUAL_POLICY)
    # Where the past is shared by all steps there is one of it.
    shared = policy.history == "clean"
    steps = len(policy.levels) if shared else USUAL_STEPS
    parts = estimate(
        policy.spec(WAN_SPECS[model.spec]),
        USUAL_SIZE,
        sessions=1,
        steps=1 if shared else steps,
        dtype="bfloat16",
        autoencoder=WAN_AUTOENCODERS.live,
        frames=policy.frames,
    )
    size = "x".join(map(str, USUAL_SIZE))
    return f"{told(parts)} for one viewer at {size} with {steps} steps in bfloat16"


def _needed_by_unet(name: str) -> str:
    from ..models.estimate import told
    from ..models.sd.room import estimate
    from ..models.sd.specs import SPECS

    spec, (width, height) = SPECS[name], USUAL_UNET_SIZE
    parts = estimate(spec, (width, height), 1, 1, "bfloat16", spec.steps)
    return f"{told(parts)} for one viewer at {width}x{height} with {spec.steps} steps in bfloat16"


def _option(model: Released) -> str:
    if not model.runs:
        return f"--vlm {model.name}"
    own = model.runs == model.name
    return f"--model {model.name}" if own else f"--weights {model.name}"


def _shipped_row(model: Shipped) -> dict[str, Any]:
    return {
        "name": model.name,
        "option": model.option,
        "about": model.about,
        "state": "shipped",
        "files": [asdict(asset) for asset in model.files()],
    }


def _released_row(model: Released, models: Path) -> dict[str, Any]:
    folder = folder_of(model.name, models)
    option, _, _ = _option(model).partition(" ")
    return {
        "name": model.name,
        "option": option,
        "model": model.runs,
        "about": model.about,
        "state": hub_lock.state(model, folder),
        "folder": str(folder),
        "bytes": model.bytes,
        "memory": needed(model),
        "parts": [asdict(part) for part in model.parts],
    }


def pull(name: str, models: Path, source: Path | None, revision: str, agreed: bool) -> None:
    """Fetch a model's weights.

    Args:
        source: a local folder to take them from, or None for the hub.
        revision: of the hub's repositories; "" for the newest.
        agreed: licence and size need no question.

    Raises:
        CallError: the model needs no download, there is no such model, or nobody agreed.
        CommandError: it failed; the message says what to do.
    """
    if any(model.name == name for model in installed()):
        raise CallError(f"{name} comes with millrace and needs no download; run it at once")
    model = weights.named(name)
    if source is not None and not source.is_dir():
        raise CallError(f"--from {source} is no folder")
    if source is not None and revision:
        raise CallError("--revision is of the hub's repositories; it does not go with --from")
    wish = Wish(model, models, source, revision, agreed)
    hub_pull.pull(wish, _confirm if sys.stdin.isatty() else None)


def _confirm(question: str) -> bool:
    return typer.confirm(question)


def verify(name: str | None, models: Path, as_json: bool) -> None:
    """Look at every file of a model: there, unaltered, of the right architecture.

    Args:
        name: which model; None for what is shipped and all that is pulled.

    Raises:
        CallError: there is no such model.
        CommandError: something is wrong; all of it is named.
    """
    found: dict[str, Finding] = {}
    for finding in _findings(name, models):
        found[finding.what] = finding
        if not as_json:
            note = finding.fault or finding.note
            print(f"{'FAULT' if finding.fault else 'ok':<6} {finding.what}{note and f'  {note}'}")
    if as_json:
        print(json.dumps({what: f.fault or "ok" for what, f in found.items()}, indent=2))
    broken = [f"{what}: {f.fault}" for what, f in found.items() if f.fault]
    if broken:
        raise CommandError("; ".join(broken))


def _findings(name: str | None, models: Path) -> Iterator[Finding]:
    if name is None or any(model.name == name for model in installed()):
        yield from _shipped_findings(name)
    if name is None:
        here: Mapping[str, Released] = {
            model.name: model
            for model in RELEASED.values()
            if hub_lock.state(model, folder_of(model.name, models)) != "not pulled"
        }
        for model in here.values():
            for finding in hub_verify.examine(model, folder_of(model.name, models)):
                what = f"{model.name}/{finding.what}"
                yield Finding(what, finding.fault, finding.note)
    elif not any(model.name == name for model in installed()):
        model = weights.named(name)
        yield from hub_verify.examine(model, folder_of(name, models))


def _shipped_findings(name: str | None) -> Iterator[Finding]:
    try:
        manifest = assets.manifest()
    except assets.AssetError as error:
        raise CommandError(str(error)) from error
    own = {asset.name for model in installed() if model.name == name for asset in model.files()}
    for file, asset in sorted(manifest.items()):
        if name is None or file in own:
            try:
                assets.verify(asset)
                yield Finding(file)
            except assets.AssetError as error:
                yield Finding(file, str(error))
