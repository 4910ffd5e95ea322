"""What a caption says, whatever its words: so that two ways to say one thing count as equal."""

from __future__ import annotations

import re

from .backgrounds import COLOURS
from .shapes import SHAPES, SOMETHING

_THING = rf"(?:an? |the )?((?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})|{SOMETHING})"
_PATTERNS: tuple[tuple[str, str], ...] = (
    (rf"{_THING} (?:appears|comes into view)", "appear"),
    (rf"there is now {_THING}", "appear"),
    (rf"{_THING} (?:disappears|is gone|leaves)", "vanish"),
    (rf"{_THING} (?:moves|starts moving|goes) (left|right|up|down)", "move"),
    (rf"{_THING} (?:stops moving|stops|is still now)", "stop"),
    (rf"{_THING} (?:turns|changes to) ({'|'.join(COLOURS)})", "recolour"),
    (r"the camera (?:pans|moves) (left|right|up|down)", "camera"),
    (r"the camera zooms (in|out)", "camera"),
    (r"the camera (?:stops|is still now)", "camera stop"),
    (r"it gets darker|the light goes down", "darker"),
    (r"it gets brighter|the light is back", "brighter"),
    (r"(?:a new scene: )?(.*) on (a .*(?:photo|background))", "scene"),
    (r"(?:a new scene: )?(a .*(?:photo|background))", "scene"),
)
_RULES = tuple((re.compile(pattern), kind) for pattern, kind in _PATTERNS)
_PARTS = re.compile(r", then | and (?=(?:an? |the |it |there |something))")
_LISTED = re.compile(r", | and ")

Meaning = tuple[str, ...]


def _clause(text: str) -> Meaning:
    for rule, kind in _RULES:
        if found := rule.fullmatch(text):
            said = [group for group in found.groups() if group]
            if kind == "scene" and len(said) == 2:
                # In which order things are listed says nothing about them.
                said[:1] = sorted(_LISTED.split(said[0]))
            return (kind, *said)
    return ("?", text)


def meanings(text: str) -> frozenset[Meaning]:
    """The events that a caption, or captions joined by "then", tell of."""
    found: set[Meaning] = set()
    for caption in text.split(", then "):
        if re.search(r"(?:photo|background)$", caption):
            found.add(_clause(caption))
        elif caption and caption != "nothing happened":
            found.update(_clause(part) for part in _PARTS.split(caption))
    return frozenset(found)


def same(said: str, true: str) -> bool:
    """Whether an answer says what the true one says."""
    return said == true or (bool(meanings(true)) and meanings(said) == meanings(true))
