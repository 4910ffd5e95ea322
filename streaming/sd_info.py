"""What a viewer can ask of the UNet models: controls, presets and efforts. No torch here."""

from __future__ import annotations

from ..models.sd.specs import SDSpec
from .controls import Control
from .pipeline import Effort, PipelineInfo, Preset

STRIDE = 8
"""Pixels per latent, each way."""
SIZE = (512, 512)
"""Width and height that these models were trained for."""
SIZES = (SIZE, (768, 512), (512, 768), (640, 360), (360, 640), (384, 384))
"""Widths and heights that they draw well, preferred first: about as many pixels as they were
trained for, and a small one for slow machines."""
CFG_CHOICES = ("none", "full", "self", "onetime")

LOOKS = (
    ("Anime", "anime illustration, clean lines, soft shading"),
    ("Oil paint", "oil painting, thick brush strokes, rich colour"),
    ("Watercolour", "watercolor painting, soft washes on paper"),
    ("Comic", "comic book panel, flat colours, ink outlines"),
    ("Clay", "clay animation, handmade figures, studio light"),
    ("Cyberpunk", "cyberpunk city at night, neon lights, rain"),
)

EFFORTS = (
    Effort("full"),
    Effort("two passes", 0.97, passes=2),
    Effort("one pass", 0.9, passes=1),
    Effort("smaller picture", 0.8, passes=1, scale=0.75),
    Effort("half rate", 0.75, passes=1, scale=0.75, rate=0.5),
)
"""From nominal down. Their order is that of what they cost; what each is worth is a guess, as no
weights of these models were at hand to measure it with."""


def sd_info(
    spec: SDSpec, *, chunk: int = 1, lora: str = "", controlnet: str = "", random: bool = False
) -> PipelineInfo:
    """What the pipeline declares.

    Args:
        chunk: frames taken at once.
        lora, controlnet: names of what is loaded besides; "" for nothing.
        random: whether the weights are random.
    """
    added = [f"LoRA {lora}"] if lora else []
    added += [f"ControlNet {controlnet}"] if controlnet else []
    about = "Restyles picture by picture from any prompt; pictures do not see each other."
    if added:
        about += f" With {' and '.join(added)}."
    if random:
        about += " Its weights are random: this shows speed, not looks."
    return PipelineInfo(
        name=spec.name,
        title=_TITLES.get(spec.name, spec.name),
        description=about,
        chunk=chunk,
        controls=_controls(spec, bool(lora), bool(controlnet)),
        presets=tuple(Preset(name, {"prompt": prompt}) for name, prompt in LOOKS),
        size=SIZE,
        size_multiple=STRIDE,
        max_side=1536,
        sizes=SIZES,
        efforts=EFFORTS,
    )


_TITLES = {"sd-turbo": "SD-Turbo", "sd1.5-lcm": "Stable Diffusion 1.5 with LCM"}


def _controls(spec: SDSpec, lora: bool, controlnet: bool) -> tuple[Control, ...]:
    controls = [
        Control("prompt", "Prompt", "text", LOOKS[0][1], help="What the picture becomes"),
        Control("negative", "Not", "text", "", help="What it should not be; needs full or onetime"),
        _share("strength", "Strength", spec.strength, "From the camera to a new picture"),
        Control(
            "steps",
            "Steps",
            "int",
            spec.steps,
            1,
            spec.max_steps,
            1,
            help="Denoising steps: more is finer, slower; a weak change has room for fewer",
        ),
        Control(
            "cfg",
            "Guidance by",
            "choice",
            "none",
            choices=CFG_CHOICES,
            help="What the prompt leads away from: nothing, the negative prompt at each step, "
            "the frame itself, or the negative prompt at the first step",
        ),
        Control("guidance", "Guidance", "float", 1.2, 1.0, 4.0, 0.1, help="How far; 1 is off"),
        _share("delta", "Softness", 1.0, "Less softens guidance by self and onetime"),
        Control(
            "add_noise", "New noise", "bool", True, help="At each step after the first; livelier"
        ),
        Control(
            "seed", "Seed", "int", 2, 0, 2**31 - 1, 1, help="Which noise the picture grows from"
        ),
    ]
    if lora:
        controls.append(_weight("lora_scale", "LoRA", "Weight of the LoRA"))
    if controlnet:
        controls.append(_weight("control_scale", "Control", "How firmly the lines are kept"))
    return tuple(controls)


def _share(name: str, label: str, default: float, help: str) -> Control:
    return Control(name, label, "float", default, 0.0, 1.0, 0.05, help=help)


def _weight(name: str, label: str, help: str) -> Control:
    return Control(name, label, "float", 1.0, 0.0, 2.0, 0.05, help=help)
