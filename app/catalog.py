"""`millrace models`: what there is, where it comes from and whether it is intact."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from .. import assets
from .errors import CallError, CommandError


@dataclass(frozen=True, slots=True)
class Model:
    """One model that `--model` takes.

    Attributes:
        name: as written on the command line.
        about: one line on what it does.
        prefixes: its shipped files are those of the manifest that start with one of these.
        option: where its name is given.
    """

    name: str
    about: str
    prefixes: tuple[str, ...] = ()
    option: str = "--model"

    def files(self) -> tuple[assets.Asset, ...]:
        found = sorted(assets.manifest().items())
        return tuple(asset for name, asset in found if name.startswith(self.prefixes))


MODELS = (
    Model(
        "tiny",
        "restyles video on a CPU; learned a fixed set of looks; shipped",
        ("tiny_video", "tiny_prompts"),
    ),
    Model("passthrough", "returns every picture unchanged; tests transport"),
    Model(
        "tiny", "tells what happens and answers questions on a CPU; shipped", ("tiny_vl",), "--vlm"
    ),
)


def show(as_json: bool) -> None:
    """Print the models and their files."""
    if as_json:
        rows = [
            {
                "name": m.name,
                "option": m.option,
                "about": m.about,
                "files": [asdict(a) for a in m.files()],
            }
            for m in MODELS
        ]
        print(json.dumps(rows, indent=2))
        return
    for model in MODELS:
        print(f"{f'{model.option} {model.name}':<20} {model.about}")
        for asset in model.files():
            print(f"{'':<20} {asset.name}  {asset.bytes / 1e6:.1f} MB  {asset.licence}")


def pull(name: str) -> None:
    """Fetch a model's weights from the hub.

    Raises:
        CallError: the model needs no download, or there is no such model.
    """
    if any(model.name == name for model in MODELS):
        raise CallError(f"{name} comes with millrace and needs no download; run it at once")
    known = ", ".join(dict.fromkeys(model.name for model in MODELS))
    raise CallError(
        f"{name}: no such model. This version runs {known}, which need no download; "
        "larger models come with later versions"
    )


def verify(as_json: bool) -> None:
    """Compare every shipped file with the manifest.

    Raises:
        CommandError: a file is missing or altered; every such file is named.
    """
    broken: dict[str, str] = {}
    try:
        shipped = assets.manifest()
    except assets.AssetError as error:
        raise CommandError(str(error)) from error
    for name, asset in sorted(shipped.items()):
        try:
            assets.verify(asset)
        except assets.AssetError as error:
            broken[name] = str(error)
    if as_json:
        print(json.dumps({name: broken.get(name, "ok") for name in sorted(shipped)}, indent=2))
    else:
        for name in sorted(shipped):
            print(f"{'ALTERED' if name in broken else 'ok':<8} {name}")
    if broken:
        raise CommandError("; ".join(broken.values()))
