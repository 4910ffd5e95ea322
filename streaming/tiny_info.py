"""What a viewer can ask of the built-in video pipeline: presets, controls and efforts."""

from __future__ import annotations

from .controls import Control
from .pipeline import Effort, PipelineInfo, Preset

STRIDE = 16
"""Pixels per token, each way: 8 of the autoencoder times a patch of 2."""
ENTRY_NOISE = 0.8
"""Noise that a chunk of a still picture enters with."""
SIGMAS = (ENTRY_NOISE, 0.5)
"""Noise of the levels that the embedded model was trained for."""

PRESETS = (
    Preset(
        "Watercolour",
        {"prompt": "watercolor painting"},
        "Soft washes on paper",
        "style_watercolor.jpg",
    ),
    Preset(
        "Oil paint", {"prompt": "oil painting"}, "Brush patches in rich colour", "style_oil.jpg"
    ),
    Preset("Comic", {"prompt": "comic book"}, "Flat colours and ink outlines", "style_comic.jpg"),
    Preset("Pencil", {"prompt": "pencil sketch"}, "Graphite on white paper", "style_sketch.jpg"),
    Preset("Neon", {"prompt": "neon lights"}, "Glowing outlines in the dark", "style_neon.jpg"),
    Preset("Noir", {"prompt": "film noir"}, "High-contrast black and white", "style_noir.jpg"),
    Preset("Vintage", {"prompt": "vintage photograph"}, "A faded warm print", "style_vintage.jpg"),
    Preset("Thermal", {"prompt": "thermal camera"}, "False-colour heat", "style_thermal.jpg"),
    Preset("Pop art", {"prompt": "pop art"}, "Bold printed colours", "style_pop.jpg"),
    Preset("Vapor", {"prompt": "vaporwave"}, "Cyan, magenta and glow", "style_vapor.jpg"),
    Preset("Mosaic", {"prompt": "mosaic tiles"}, "Small tiles with grout", "style_mosaic.jpg"),
    Preset(
        "Light trails",
        {"prompt": "light trails"},
        "Bright things draw in light; remembers the past",
        "style_trails.jpg",
    ),
    Preset(
        "Long exposure",
        {"prompt": "long exposure"},
        "Motion melts; remembers the past",
        "style_exposure.jpg",
    ),
    Preset(
        "Drying ink",
        {"prompt": "drying ink"},
        "Fresh ink dries to sepia; remembers the past",
        "style_drying.jpg",
    ),
)

CONTROLS = (
    Control("prompt", "Prompt", "text", "watercolor painting", help="What the picture becomes"),
    Control(
        "strength",
        "Strength",
        "float",
        1.0,
        0.0,
        1.0,
        0.05,
        help="From the camera to the full style",
    ),
    Control(
        "steps",
        "Steps",
        "int",
        1,
        1,
        len(SIGMAS),
        1,
        help="Denoising steps: more is steadier, slower",
    ),
    Control("seed", "Seed", "int", 0, 0, 2**31 - 1, 1, help="Which noise the picture grows from"),
)

EFFORTS = (
    Effort("full"),
    Effort("one pass", 0.9993, passes=1),
    Effort("short memory", 0.9988, passes=1, window=2),
    Effort("smaller picture", 0.82, passes=1, window=2, scale=0.75),
    Effort("half rate", 0.79, passes=1, window=2, scale=0.75, rate=0.5),
)
"""From nominal down, in the order of what a step loses for the time that it saves: the second pass
is half of the time, two frames of memory a fifteenth of a pass, the smaller picture a third of the
rest.

The worth of each is measured by `python -m millrace.streaming.effort_report`, all looks at 128x128,
viewers who ask for two steps: the pictures' likeness to those of the full effort and to the look.
The mean hides that looks differ: a smaller picture is worth 0.78 to 0.96 in most, 0.52 in pop art
and 0.21 in mosaic, whose dots and tiles have a size in pixels and so lie elsewhere. That of half
the rate is of what is shown, repeats included; the chunks that are not made count 0 besides.
"""

TINY_INFO = PipelineInfo(
    name="tiny",
    title="Millrace tiny: live restyling on a CPU",
    description=(
        "A small video model that learned a fixed set of looks. It is not a general "
        "text-to-video model; a large one goes in its place."
    ),
    chunk=1,
    controls=CONTROLS,
    presets=PRESETS,
    size=(256, 256),
    size_multiple=STRIDE,
    max_side=768,
    efforts=EFFORTS,
)
