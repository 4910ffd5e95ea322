"""The photographs that the shipped model learns from and is judged on.

All of them lie inside the scikit-image and scikit-learn wheels, so nothing is downloaded. Only
pictures whose licence is written down beside them are used; two are kept for evaluation.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

LEVELS_PER_HALVING = 2
MIP_LEVELS = 6


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph: where it lies, under which licence, and whether it may be trained on."""

    name: str
    package: str
    file: str
    source: str
    licence: str
    attribution: str
    heldout: bool = False


PHOTOS: tuple[Photo, ...] = (
    Photo("camera", "skimage", "data/camera.png", "scikit-image", "CC0-1.0", "Lav Varshney"),
    Photo(
        "chelsea", "skimage", "data/chelsea.png", "scikit-image", "CC0-1.0", "Stéfan van der Walt"
    ),
    Photo("rocket", "skimage", "data/rocket.jpg", "scikit-image", "public domain", "SpaceX"),
    Photo(
        "hubble",
        "skimage",
        "data/hubble_deep_field.jpg",
        "scikit-image",
        "public domain",
        "NASA and the Space Telescope Science Institute",
    ),
    Photo("brick", "skimage", "data/brick.png", "scikit-image", "CC0-1.0", "CC0 Textures"),
    Photo(
        "grass", "skimage", "data/grass.png", "scikit-image", "CC0-1.0", "linolafett, DeviantArt"
    ),
    Photo("gravel", "skimage", "data/gravel.png", "scikit-image", "CC0-1.0", "CC0 Textures"),
    Photo("retina", "skimage", "data/retina.jpg", "scikit-image", "CC0-1.0", "Mikael Häggström"),
    Photo(
        "china",
        "sklearn",
        "datasets/images/china.jpg",
        "scikit-learn",
        "CC-BY-2.0",
        "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035/",
    ),
    Photo(
        "flower",
        "sklearn",
        "datasets/images/flower.jpg",
        "scikit-learn",
        "CC-BY-2.0",
        "vultilion, https://www.flickr.com/photos/vultilion/6056698931/",
    ),
    Photo(
        "astronaut",
        "skimage",
        "data/astronaut.png",
        "scikit-image",
        "public domain",
        "NASA",
        heldout=True,
    ),
    Photo(
        "coffee",
        "skimage",
        "data/coffee.png",
        "scikit-image",
        "CC0-1.0",
        "Rachel Michetti",
        heldout=True,
    ),
)


def training_photos() -> tuple[Photo, ...]:
    """The photographs that clips may be cut from."""
    return tuple(photo for photo in PHOTOS if not photo.heldout)


def heldout_photos() -> tuple[Photo, ...]:
    """The photographs that are used for evaluation alone."""
    return tuple(photo for photo in PHOTOS if photo.heldout)


def credit_lines(photos: tuple[Photo, ...] | None = None) -> str:
    """One line per photograph, the training ones unless told: name, licence, author and where it
    was taken from."""
    return "\n".join(
        f"{photo.name}: {photo.licence}, {photo.attribution} (from {photo.source})"
        for photo in photos or training_photos()
    )


def find(name: str) -> Photo:
    """The photograph of that name; KeyError lists the names there are."""
    for photo in PHOTOS:
        if photo.name == name:
            return photo
    raise KeyError(f"no photograph {name!r}; there are {', '.join(p.name for p in PHOTOS)}")


def _path(photo: Photo) -> Path:
    # The package is located, not imported: importing sklearn costs seconds.
    spec = importlib.util.find_spec(photo.package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"the photograph {photo.name!r} lies in {photo.source}, which is not installed; "
            "install the training extra: pip install 'millrace[training]'"
        )
    return Path(spec.origin).parent / photo.file


@lru_cache(maxsize=64)
def pyramid(name: str, device: str = "cpu") -> tuple[Tensor, ...]:
    """The photograph at full size and ever smaller by the square root of two.

    Args:
        name: a name in `PHOTOS`.
        device: where the tensors shall lie.

    Returns:
        `MIP_LEVELS` tensors [3, H, W] in 0..1, shared between callers: do not write to them.

    Raises:
        KeyError: no such photograph.
        FileNotFoundError: the package that carries it is not installed.
    """
    from PIL import Image

    with Image.open(_path(find(name))) as picture:
        pixels = np.array(picture.convert("RGB"))
    level = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255).to(device)
    height, width = level.shape[-2:]
    levels = [level]
    for index in range(1, MIP_LEVELS):
        shrink = 2.0 ** (-index / LEVELS_PER_HALVING)
        smaller = functional.interpolate(
            level[None],
            (round(height * shrink), round(width * shrink)),
            mode="bilinear",
            antialias=True,
        )
        levels.append(smaller[0].clamp_(0, 1))
    return tuple(levels)
