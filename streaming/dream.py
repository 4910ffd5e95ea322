"""Builds the embedded text-to-video model's pipeline."""

from __future__ import annotations

from pathlib import Path

from ..assets import AssetError
from ..models.scene import WEIGHTS, load_scene, random_scene
from ..models.tiny import load_prompts, load_tiny
from .config import ConfigError, whole_number
from .dream_info import MOST_STEPS, NAME, PRESETS, STEPS
from .dream_looks import Looks
from .dream_pipeline import Dreaming
from .pipeline import PipelineContext
from .recorders import recorder_for


def build(context: PipelineContext) -> Dreaming:
    """The embedded text-to-video model. Options: `weights` (a folder of the training command, or a
    file of it), `random_weights` (speed without pictures, for measuring), `graphs` (`recorders`),
    `max_sessions`, `steps`.

    Raises:
        ConfigError: there are no weights.
    """
    options = context.options
    random = options.get("random_weights") in (True, "true", "1")
    given = Path(str(options["weights"])) if options.get("weights") else None
    if given is not None and given.is_dir():
        given = given / WEIGHTS
    try:
        if random:
            scenes = [str(preset.values["prompt"]).partition(",")[0] for preset in PRESETS]
            words = [word for scene in scenes for word in scene.split()]
            model = random_scene(words, context.device, context.dtype)
        else:
            model = load_scene(context.device, context.dtype, given)
    except (AssetError, OSError) as error:
        where = "" if given is None else f" at {given}"
        raise ConfigError(
            f"{NAME} has no weights{where}; train some with `python -m "
            "millrace.models.training.dream` and name the folder with --weights, or measure with "
            "--random-weights"
        ) from error
    streams = int(options.get("max_sessions", 4))
    tiny, recorder = load_tiny(context.device, context.dtype), recorder_for(context.device, options)
    return Dreaming(
        model,
        tiny.autoencoder,
        looks=Looks(tiny, load_prompts(), streams, recorder),
        streams=streams,
        steps=whole_number("steps", options.get("steps", STEPS), MOST_STEPS),
        random=random,
        recorder=recorder,
    )
