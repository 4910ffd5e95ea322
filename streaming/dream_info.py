"""What a viewer can ask of the embedded text-to-video model: controls and presets. No torch."""

from __future__ import annotations

from .controls import Control
from .pipeline import Effort, PipelineInfo, Preset

NAME = "tiny-dream"
DRAWN = 64
"""Pixels of a window of attention, each way: sides that are drawn are multiples of it."""
SHORT = 128
"""Pixels of the shorter side of what is drawn; the model learned on squares of it."""
PICTURES = 2
"""Pictures of a chunk."""
HOLD = 2
"""Frames for which a picture is shown: motion was learned at 12 pictures a second, and a source of
30 frames a second makes 15 of them."""
FPS = 12.0 * HOLD
"""Frames a second at which things move as fast as in what was learned."""
STEPS = 2
"""Denoising steps at each of the four places of the buffer."""
MOST_STEPS = 16
TEXT, VIDEO = "text-to-video", "video-to-video"
AT_ONCE, NEW_CHUNKS = "at once", "new pictures"

PRESETS = (
    Preset("Sunset sea", {"prompt": "waves at sunset"}, image="scene_sunset.jpg"),
    Preset("Storm", {"prompt": "stormy sea at night"}, image="scene_storm.jpg"),
    Preset("Clouds", {"prompt": "clouds in a blue sky moving left"}, image="scene_clouds.jpg"),
    Preset("Northern lights", {"prompt": "green northern lights"}, image="scene_lights.jpg"),
    Preset("Mountains", {"prompt": "mountains at sunset moving right"}, image="scene_hills.jpg"),
    Preset("Fire", {"prompt": "burning fire"}, image="scene_fire.jpg"),
    Preset("Snow", {"prompt": "falling snow at night"}, image="scene_snow.jpg"),
    Preset("Rain", {"prompt": "rain at night"}, image="scene_rain.jpg"),
    Preset("Under water", {"prompt": "light under water"}, image="scene_water.jpg"),
    Preset("Waterfall", {"prompt": "waterfall"}, image="scene_fall.jpg"),
    Preset("Fireflies", {"prompt": "fireflies in a dark forest"}, image="scene_flies.jpg"),
    Preset("Stars", {"prompt": "flying through stars"}, image="scene_stars.jpg"),
    Preset("Painted sea", {"prompt": "waves at sunset, oil painting"}, image="scene_painted.jpg"),
    Preset("Drawn hills", {"prompt": "mountains by day, pencil sketch"}, image="scene_drawn.jpg"),
    Preset("Neon rain", {"prompt": "rain at night, neon lights"}, image="scene_neonrain.jpg"),
)

CONTROLS = (
    Control(
        "prompt",
        "Prompt",
        "text",
        "waves at sunset",
        help="What is to be seen; a look may follow after a comma: waves at sunset, oil painting",
    ),
    Control("mode", "From", "choice", TEXT, choices=(TEXT, VIDEO), help="What is drawn from"),
    Control(
        "guidance",
        "Guidance",
        "float",
        2.0,
        1.0,
        4.0,
        0.25,
        help="How strictly the words are followed; above 1 each picture costs twice as much",
    ),
    Control(
        "look",
        "Look",
        "float",
        1.0,
        0.0,
        1.0,
        0.05,
        help="How much of the look after the comma; it is a second pass over each picture",
    ),
    Control(
        "strength",
        "Strength",
        "float",
        0.75,
        0.25,
        0.75,
        0.25,
        help="With a live picture: how much is drawn anew. Each quarter comes out a chunk later",
    ),
    Control("seed", "Seed", "int", 0, 0, 2**31 - 1, 1, help="Which noise the video grows from"),
    Control(
        "transition",
        "Transition",
        "int",
        4,
        0,
        32,
        1,
        help="Chunks in which a new prompt takes over; 0 for at once",
    ),
    Control(
        "reach",
        "New prompt for",
        "choice",
        AT_ONCE,
        choices=(AT_ONCE, NEW_CHUNKS),
        help="A new prompt turns the pictures that are being drawn, or begins with the next ones",
    ),
)
EFFORTS = (Effort("full"), Effort("half rate", 0.8, rate=0.5))


def dream_info(random: bool) -> PipelineInfo:
    """What the pipeline declares.

    Args:
        random: whether the weights are random.
    """
    about = (
        "A small video model that draws from words, or a live picture by words. It learned some "
        "twenty kinds of scenes and a few shapes; it is not a general text-to-video model."
    )
    if random:
        about += " Its weights are random: this shows speed, not pictures."
    return PipelineInfo(
        name=NAME,
        title="Millrace tiny: video from words on a CPU",
        description=about,
        chunk=PICTURES * HOLD,
        controls=CONTROLS,
        presets=PRESETS,
        size=(256, 256),
        size_multiple=2,
        max_side=1024,
        efforts=EFFORTS,
        draws_from=("text", "video"),
        fps=FPS,
    )


def drawn_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width that pictures of `size` are drawn at: no smaller in shape, so that they are
    scaled and then cut, never bent."""
    short = min(size)

    def side(given: int) -> int:
        return min(-(-given * SHORT // (short * DRAWN)) * DRAWN, 4 * SHORT)

    return side(size[0]), side(size[1])


def places_of(strength: float) -> int:
    """Places of the buffer, of four, that a live picture moves through."""
    return min(3, max(1, round(4 * strength)))
