"""What a viewer can ask of the causal Wan models: presets, controls and efforts. No torch here."""

from __future__ import annotations

from ..models.policies import WanPolicy
from .controls import Control
from .pipeline import Effort, PipelineInfo, Preset

STRIDE = 16
"""Pixels per token, each way: 8 of the autoencoder times a patch of 2."""
VIDEO, TEXT, IMAGE = "video-to-video", "text-to-video", "image-to-video"
MODES = (VIDEO, TEXT, IMAGE)
SIZES = ((832, 480), (480, 832), (512, 512), (640, 640), (640, 352), (352, 640))
"""Width and height of the pictures that these weights draw well, preferred first: they were made at
480p, and the token counts of these are near it or below."""
LOOKS = (
    ("Anime", "A hand drawn anime film, soft shading, clean lines, warm afternoon light."),
    ("Oil paint", "An oil painting in motion, thick brush strokes, rich deep colours."),
    ("Clay", "A clay animation with handmade figures on a small set, studio light."),
    ("Pixels", "A pixel art video game scene, bright colours, crisp square pixels."),
    ("Cyberpunk", "A cyberpunk city at night, neon lights, rain, reflections on wet ground."),
    ("Watercolour", "A watercolour animation, soft washes on textured paper."),
)

EFFORTS = (
    Effort("full"),
    Effort("two passes", 0.97, passes=2),
    Effort("one pass", 0.9, passes=1),
    Effort("half rate", 0.75, passes=1, rate=0.5),
)
"""From nominal down. No smaller picture: its memory would come on top of what is there. Their order
is that of what they cost; what each is worth is a guess, as no weights were at hand to measure."""


def wan_info(name: str, title: str, policy: WanPolicy, random: bool) -> PipelineInfo:
    """What the pipeline declares.

    Args:
        random: whether the weights are random.
    """
    about = (
        "Restyles a live picture, or makes video from words or from a first picture. One chunk is "
        f"{4 * policy.frames} pictures."
    )
    if random:
        about += " Its weights are random: this shows speed, not looks."
    return PipelineInfo(
        name=name,
        title=title,
        description=about,
        chunk=4 * policy.frames,
        controls=controls(policy),
        presets=tuple(Preset(look, {"prompt": prompt}) for look, prompt in LOOKS),
        size=SIZES[0],
        size_multiple=STRIDE,
        max_side=1280,
        efforts=EFFORTS,
        draws_from=("video", "text", "image") if policy.source == "video" else ("text", "image"),
        sizes=SIZES,
    )


def controls(policy: WanPolicy) -> tuple[Control, ...]:
    """The schema, for weights that are streamed in this way."""
    modes = MODES if policy.source == "video" else (TEXT, IMAGE)
    most = len(policy.levels)
    return (
        Control("prompt", "Prompt", "text", LOOKS[0][1], help="What the picture becomes"),
        Control(
            "mode",
            "From",
            "choice",
            modes[0],
            choices=modes,
            help="What is drawn from: the live picture, words alone, or a first picture and words "
            "(reset to take the picture that is there)",
        ),
        Control(
            "strength",
            "Strength",
            "float",
            policy.noise,
            0.3,
            1.0,
            0.05,
            help="How freely it redraws the live picture; the weights were made for 0.8",
        ),
        Control(
            "steps",
            "Steps",
            "int",
            min(2, most) if policy.source == "video" else most,
            1,
            most,
            1,
            help="Denoising steps: more is finer, slower",
        ),
        Control("seed", "Seed", "int", 0, 0, 2**31 - 1, 1, help="Which noise it grows from"),
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
            "new_scene",
            "New scene",
            "bool",
            False,
            help="A new prompt lets go of the frames that were kept from the beginning",
        ),
    )
