"""What there is to dream of: kinds of scenes, the words for them, and clips with their prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...words import split_words
from ..scenes import Dice
from . import grounds, skies
from .fields import Canvas

FPS = 12.0
"""Pictures a second that the scenes move at."""

TIMES = {
    "day": ("{} by day", "{} under a blue sky", "sunny {}", "{} in the sun"),
    "sunset": ("{} at sunset", "{} at dusk", "{} in the evening", "sunset over {}"),
    "night": ("{} at night", "{} by night", "{} under the moon", "dark {}"),
}
WAYS = {
    "left": ("{} moving left", "{} to the left", "{} drifting left"),
    "right": ("{} moving right", "{} to the right", "{} drifting right"),
}
HUES = tuple(grounds.HUES)


def _hues(*names: str) -> Mapping[str, tuple[str, ...]]:
    return {name: (name + " {}",) for name in names}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of scene.

    Attributes:
        name: its key.
        paint: (dice, canvas, **traits) -> [T, 3, S, S] in 0..1.
        phrases: what it is called.
        traits: for each trait its values and how each is said, around what has been said so far.
        said: share of the prompts that name a trait; shapes always name theirs.
        weight: how often it is drawn.
    """

    name: str
    paint: Callable[..., Tensor]
    phrases: tuple[str, ...]
    traits: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    said: float = 0.9
    weight: float = 1.0


KINDS = (
    Kind(
        "sea",
        skies.sea,
        ("waves", "the sea", "the ocean", "ocean waves", "waves on the sea", "water and waves"),
        {
            "wind": {"calm": ("calm {}", "gentle {}", "{}"), "stormy": ("stormy {}", "wild {}")},
            "time": TIMES,
        },
        weight=2.0,
    ),
    Kind(
        "clouds",
        skies.clouds,
        ("clouds", "a cloudy sky", "clouds in the sky", "passing clouds"),
        {"time": TIMES, "way": WAYS},
        weight=1.6,
    ),
    Kind(
        "aurora",
        skies.aurora,
        ("northern lights", "an aurora", "polar lights", "aurora borealis"),
        {"hue": {"green": ("green {}", "{}"), "purple": ("purple {}", "violet {}", "pink {}")}},
    ),
    Kind(
        "flight",
        skies.flight,
        (
            "flying through stars",
            "space",
            "a starfield",
            "hyperspace",
            "a flight through space",
            "stars",
            "warp speed",
        ),
    ),
    Kind(
        "snow",
        skies.snow,
        ("falling snow", "snow", "snowfall", "a snowy forest", "snowflakes", "winter"),
        {"time": {"day": TIMES["day"][:1] + ("{}",), "night": TIMES["night"]}},
    ),
    Kind(
        "rain",
        skies.rain,
        ("rain", "falling rain", "a rainy city", "heavy rain", "a rainy street"),
        {"time": {"day": TIMES["day"][:1] + ("grey {}",), "night": TIMES["night"]}},
    ),
    Kind(
        "mountains",
        skies.mountains,
        ("mountains", "flying past mountains", "hills", "a mountain range", "a landscape"),
        {"time": TIMES, "way": WAYS},
        weight=1.5,
    ),
    Kind(
        "fire",
        grounds.fire,
        ("fire", "flames", "a burning fire", "a campfire", "burning flames", "a fireplace"),
        {"hue": {"plain": ("{}", "{}", "red {}", "hot {}"), "blue": ("blue {}", "cold blue {}")}},
    ),
    Kind(
        "candle",
        grounds.candle,
        ("a candle", "candlelight", "a candle in the dark", "a burning candle", "a candle flame"),
    ),
    Kind("lava", grounds.lava, ("lava", "a volcano", "glowing lava", "molten rock", "magma")),
    Kind(
        "underwater",
        grounds.underwater,
        ("underwater", "under water", "a pool", "a swimming pool", "light in water", "caustics"),
    ),
    Kind(
        "bubbles",
        grounds.bubbles,
        ("bubbles", "rising bubbles", "bubbles in water", "an aquarium", "soap bubbles"),
    ),
    Kind(
        "fireflies",
        grounds.fireflies,
        (
            "fireflies",
            "fireflies in a dark forest",
            "glowing fireflies",
            "floating lights",
            "magic lights",
        ),
    ),
    Kind(
        "grass",
        grounds.grass,
        ("a field in the wind", "grass", "a meadow", "a field", "grass in the wind"),
        {
            "hue": {
                "green": ("green {}", "fresh {}"),
                "gold": ("golden {}", "yellow {}", "wheat, {}", "dry {}"),
            }
        },
    ),
    Kind(
        "waterfall",
        grounds.waterfall,
        ("a waterfall", "falling water", "a cascade", "water falling over rocks"),
    ),
    Kind(
        "forest",
        grounds.forest,
        ("a misty forest", "trees in the fog", "a forest", "fog", "walking through a forest"),
        {"way": WAYS},
    ),
    Kind(
        "plasma",
        grounds.plasma,
        (
            "plasma",
            "a rainbow",
            "psychedelic colours",
            "liquid rainbow",
            "colours",
            "abstract colours",
        ),
    ),
    Kind(
        "tunnel",
        grounds.tunnel,
        ("tunnel", "a tunnel", "a vortex", "a wormhole", "falling into a tunnel"),
        {"hue": _hues("red", "green", "blue", "purple", "orange")},
    ),
    Kind(
        "shape",
        grounds.shape,
        ("",),
        {
            "form": {form: (f"{form}{{}}",) for form in ("circle", "square", "triangle")},
            "hue": _hues(*HUES),
            "way": {
                way: tuple(f"{{}} {verb} {way}" for verb in ("moving", "going", "moves"))
                for way in ("left", "right", "up", "down")
            },
            "ground": {
                hue: (f"{{}} on {hue}", f"{{}} on a {hue} background", f"{{}} over {hue}")
                for hue in HUES
            },
        },
        said=1.0,
        weight=2.5,
    ),
)


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures [T, 3, S, S] in 0..1 and what they show.

    Attributes:
        kind: name of the kind.
        traits: chosen values by trait.
    """

    pictures: Tensor
    kind: str
    traits: Mapping[str, str]


def choose(dice: Dice) -> tuple[Kind, dict[str, str]]:
    """A kind and its traits."""
    total, goal = sum(kind.weight for kind in KINDS), dice.number(0, 1)
    for kind in KINDS:
        goal -= kind.weight / total
        if goal < 0:
            break
    traits: dict[str, str] = {}
    for trait, values in kind.traits.items():
        names = [name for name in values if trait != "ground" or name != traits["hue"]]
        traits[trait] = names[dice.pick(len(names))]
    return kind, traits


def clip(dice: Dice, side: int, frames: int, name: str = "", **traits: str) -> Clip:
    """A random clip, or one of a given kind."""
    if name:
        kind = next(kind for kind in KINDS if kind.name == name)
    else:
        kind, traits = choose(dice)
    begin = dice.number(0, 20)
    canvas = Canvas(side, begin + torch.arange(frames) / FPS)
    return Clip(kind.paint(dice, canvas, **traits).clamp(0, 1), kind.name, traits)


def prompt(dice: Dice, name: str, traits: Mapping[str, str]) -> str:
    """One way to ask for a clip. Not every trait is always named, and the order is free."""
    kind = next(kind for kind in KINDS if kind.name == name)
    text = kind.phrases[dice.pick(len(kind.phrases))]
    for trait, value in traits.items():
        if dice.chance(kind.said):
            ways = kind.traits[trait][value]
            text = ways[dice.pick(len(ways))].format(text)
    return text


def words() -> set[str]:
    """Every word that a prompt may hold."""
    found: set[str] = set()
    for kind in KINDS:
        for phrase in kind.phrases:
            found.update(split_words(phrase))
        for values in kind.traits.values():
            for ways in values.values():
                for way in ways:
                    found.update(split_words(way.format("")))
    return found
