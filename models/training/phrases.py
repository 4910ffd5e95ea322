"""Words for the prompt encoder: names of each look, and words that mean nothing for it."""

from __future__ import annotations

import tomllib
from importlib.resources import files

_WORDS = tomllib.loads(files(__package__).joinpath("phrases.toml").read_text("utf-8"))

PHRASES: dict[str, tuple[str, ...]] = {k: tuple(v) for k, v in _WORDS["phrases"].items()}
"""How people name each look, by the style's name."""
SUBJECTS: tuple[str, ...] = tuple(_WORDS["subjects"])
ADJECTIVES: tuple[str, ...] = tuple(_WORDS["adjectives"])
LINKS: tuple[str, ...] = tuple(_WORDS["links"])
"""Small words that some phrases hold ("take on me") and that mean nothing by themselves."""
