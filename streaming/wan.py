"""The causal Wan models as pipelines: found, measured against the memory, loaded, put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

from ..models.loaders import WeightsError
from ..models.policies import WanPolicy, policy_named
from ..models.specs import WAN_AUTOENCODERS, AutoencoderName, DiTSpec
from ..models.umt5 import load_text_encoder
from ..models.wan import FOLDERS, WanModel, WanSizes, load_wan, random_wan, sizes_of
from ..models.wan_sizes import WAN_SPECS
from .config import ConfigError, whole_number
from .diffusion import VideoDiffusion
from .eight_bits import narrow, store_of
from .parts import Size
from .pipeline import PipelineContext
from .recorders import queues_for, recorder_for
from .wan_info import SIZES, STRIDE, wan_info
from .wan_parts import wan_parts
from .wan_room import WanRoom
from .wan_text import RandomReader, Reader, WanPrompts

TITLES = {"wan2.1-1.3b": "Wan 2.1 causal 1.3B", "wan2.1-14b": "Wan 2.1 causal 14B"}


@dataclass(frozen=True, slots=True)
class WanOptions:
    """What a pipeline of this family is built with, read from `PipelineContext.options`.

    Attributes:
        weights: folder in the layout of a pulled model; None for random weights.
        policy: how the weights are streamed: `policy`, a name of `models.policies`, with no more
            than its first `steps` levels.
        vae: which autoencoder, see `models.specs.AutoencoderUse`.
        max_sessions: streams of one picture size at a time.
        sequential: see `VideoDiffusion`.
        size: height and width that most streams will have.
    """

    weights: Path | None
    policy: WanPolicy
    vae: AutoencoderName
    max_sessions: int
    sequential: bool
    size: Size

    @classmethod
    def read(cls, name: str, context: PipelineContext) -> WanOptions:
        """
        Raises:
            ConfigError: there are no weights, or a name that there is not.
        """
        options = context.options
        random = options.get("random_weights") in (True, "true", "1")
        folder = options.get("weights")
        if not random and not folder:
            raise ConfigError(
                f"{name} needs weights: fetch them with `millrace models pull {name}`, name a "
                "folder that has them with --weights, or measure with --random-weights"
            )
        vae = str(options.get("vae", WAN_AUTOENCODERS.live))
        if vae not in FOLDERS:
            raise ConfigError(f"vae: {vae!r} is not one of {', '.join(FOLDERS)}")
        try:
            policy = policy_named(str(options.get("policy", "streamdiffusionv2")))
            if "steps" in options:
                steps = whole_number("steps", options["steps"], len(policy.levels))
                policy = replace(policy, levels=policy.steps(steps))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        policy = replace(policy, ring=replace(policy.ring, store=store_of(options)))
        width, height = options.get("size", SIZES[0])
        if not (width and height):
            width, height = SIZES[0]
        # As large as the picture becomes when its edges are repeated.
        width, height = (-(-side // STRIDE) * STRIDE for side in (width, height))
        return cls(
            weights=None if random else Path(str(folder)),
            policy=policy,
            vae=cast(AutoencoderName, vae),
            max_sessions=int(options.get("max_sessions", 4)),
            sequential=options.get("schedule", "sequential") != "stream",
            size=(height, width),
        )


def build_small(context: PipelineContext) -> VideoDiffusion:
    """wan2.1-1.3b."""
    return build("wan2.1-1.3b", context)


def build_large(context: PipelineContext) -> VideoDiffusion:
    """wan2.1-14b."""
    return build("wan2.1-14b", context)


def build(
    name: str,
    context: PipelineContext,
    named: DiTSpec | None = None,
) -> VideoDiffusion:
    """A pipeline of this family. For the options see `WanOptions`.

    Args:
        named: dimensions that the files do not tell; None for those of the released model.

    Raises:
        ConfigError: see `WanOptions.read`; or the weights do not fit or cannot be read.
    """
    options = WanOptions.read(name, context)
    recorder = recorder_for(context.device, context.options)
    queues = queues_for(context.device, context.options)
    named = WAN_SPECS[name] if named is None else named
    model, room = _loaded(name, options, named, context)
    notes = narrow(model.dit, context.device, context.options)
    reader = _reader(options, model, context)
    random = options.weights is None
    info = wan_info(name, TITLES.get(name, name), options.policy, random)
    prompts = WanPrompts(reader)
    parts = wan_parts(info, model.dit, model.autoencoder, prompts, options.policy, room)
    return VideoDiffusion(
        parts,
        streams=options.max_sessions,
        sequential=options.sequential,
        recorder=recorder,
        queues=queues,
        notes=notes,
    )


def _reader(options: WanOptions, model: WanModel, context: PipelineContext) -> Reader:
    dit = model.sizes.dit
    if options.weights is None:
        return RandomReader(dit)
    try:
        # In the type of the file, which then stays mapped.
        reader = load_text_encoder(options.weights, context.device, torch.bfloat16, dit.text_len)
    except (ImportError, FileNotFoundError, WeightsError) as error:
        raise ConfigError(str(error)) from error
    if reader.spec.dim != dit.text_dim:
        raise ConfigError(
            f"{options.weights}: the text encoder is {reader.spec.dim} wide and the transformer "
            f"reads {dit.text_dim}; take both from one model"
        )
    return reader


def _loaded(
    name: str, options: WanOptions, named: DiTSpec, context: PipelineContext
) -> tuple[WanModel, WanRoom]:
    """The weights, if they and the streams fit into what is free."""
    device, dtype = torch.device(context.device), getattr(torch, context.dtype)
    folder = options.weights
    try:
        sizes = WanSizes(options.policy.spec(named))
        if folder is not None:
            sizes = sizes_of(folder, named, options.policy, options.vae)
        room = WanRoom(
            name,
            sizes.dit,
            sizes.vae,
            sizes.taehv,
            options.vae,
            context.device,
            context.dtype,
            1 if options.policy.history == "clean" else len(options.policy.levels),
            options.policy.frames,
            folder is not None,
        )
        room.check_loading(options.max_sessions, options.size)
        if folder is None:
            return random_wan(sizes, options.vae, device, dtype), room
        return load_wan(folder, sizes, options.vae, device, dtype, options.policy.ema), room
    except (FileNotFoundError, WeightsError, ValueError, RuntimeError) as error:
        raise ConfigError(str(error)) from error
