"""Which files hold the weights of a model: one file, or the shards of one, with an index or not."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .loaders import WeightsError, some

TORCH_SUFFIXES = (".pt", ".pth", ".bin")
INDEX = "*.safetensors.index.json"
SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")


def weight_files(path: Path) -> list[Path]:
    """The file, or all shards, that make up the weights at `path`.

    Raises:
        FileNotFoundError: nothing there, or a shard is missing; it is named.
        WeightsError: there are several to choose from, or the index is no index.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder of weights; pull the model first")
    indices = sorted(path.glob(INDEX))
    shards = sorted(found for found in path.glob("*.safetensors") if SHARD.fullmatch(found.name))
    if len(indices) == 1:
        files = _indexed(indices[0])
    elif shards and not indices:
        files = _complete(shards)
    else:
        files = indices or _single(path)
        if len(files) > 1:
            names = some([str(file.relative_to(path)) for file in files])
            raise WeightsError(f"{path}: holds several models ({names}); name the one to load")
    lacking = [file.name for file in files if not file.is_file()]
    if lacking:
        raise FileNotFoundError(f"{path}: {some(lacking)} missing; pull the model again")
    return files


def _single(folder: Path) -> list[Path]:
    suffixes = (".safetensors", *TORCH_SUFFIXES)
    for found in (folder.iterdir(), folder.rglob("*")):
        files = sorted(file for file in found if file.suffix in suffixes and file.is_file())
        if files:
            return files
    raise FileNotFoundError(f"{folder}: no weights ({', '.join(suffixes)}) there; pull the model")


def _indexed(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{index}: is no index of weights ({error}); fetch it again") from error
    outside = [name for name in sorted(names) if Path(name).name != name]
    if outside or not names:
        raise WeightsError(
            f"{index}: must list files of its own folder, not {some(outside) or 'none'}"
        )
    return [index.parent / name for name in sorted(names)]


def _complete(shards: list[Path]) -> list[Path]:
    """All shards of the set that the given ones belong to, there or not."""
    sets = {(m[1], m[3]) for m in (SHARD.fullmatch(shard.name) for shard in shards) if m}
    if len(sets) > 1:
        names = some(sorted(name for name, _ in sets))
        raise WeightsError(f"{shards[0].parent}: holds several models ({names}); name one")
    ((stem, count),) = sets
    return [
        shards[0].parent / f"{stem}-{number:0{len(count)}d}-of-{count}.safetensors"
        for number in range(1, int(count) + 1)
    ]
