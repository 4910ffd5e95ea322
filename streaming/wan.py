"""The causal Wan models as pipelines: found, measured against the memory, loaded, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ..models.loaders import WeightsError
from ..models.policies import WanPolicy, policy_named
from ..models.specs import WAN_1_3B, WAN_14B, WAN_AUTOENCODERS, AutoencoderName, DiTSpec
from ..models.wan import FOLDERS, WanModel, WanSizes, load_wan, random_wan, sizes_of
from .config import ConfigError
from .diffusion import VideoDiffusion
from .pipeline import PipelineContext
from .wan_info import wan_info
from .wan_parts import wan_parts
from .wan_text import WanPrompts, random_embed

TITLES = {"wan2.1-1.3b": "Wan 2.1 causal 1.3B", "wan2.1-14b": "Wan 2.1 causal 14B"}
SPECS = {"wan2.1-1.3b": WAN_1_3B, "wan2.1-14b": WAN_14B}


@dataclass(frozen=True, slots=True)
class WanOptions:
    """What a pipeline of this family is built with, read from `PipelineContext.options`.

    Attributes:
        weights: folder in the layout of a pulled model; None for random weights.
        policy: how the weights are streamed, a name of `models.policies`.
        vae: which autoencoder, see `models.specs.AutoencoderUse`.
        max_sessions: streams of one picture size at a time.
        sequential: see `VideoDiffusion`.
    """

    weights: Path | None
    policy: WanPolicy
    vae: AutoencoderName
    max_sessions: int
    sequential: bool

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
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return cls(
            weights=None if random else Path(str(folder)),
            policy=policy,
            vae=cast(AutoencoderName, vae),
            max_sessions=int(options.get("max_sessions", 4)),
            sequential=options.get("schedule", "sequential") != "stream",
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
    device, dtype = torch.device(context.device), getattr(torch, context.dtype)
    named = SPECS[name] if named is None else named
    try:
        model = _model(options, named, device, dtype)
    except (FileNotFoundError, WeightsError, ValueError) as error:
        raise ConfigError(str(error)) from error
    random = options.weights is None
    info = wan_info(name, TITLES.get(name, name), options.policy, random)
    prompts = WanPrompts(random_embed(model.sizes.dit))
    parts = wan_parts(info, model.dit, model.autoencoder, prompts, options.policy)
    return VideoDiffusion(parts, streams=options.max_sessions, sequential=options.sequential)


def _model(options: WanOptions, named: DiTSpec, device: Any, dtype: torch.dtype) -> WanModel:
    if options.weights is None:
        return random_wan(WanSizes(options.policy.spec(named)), options.vae, device, dtype)
    sizes = sizes_of(options.weights, named, options.policy, options.vae)
    return load_wan(options.weights, sizes, options.vae, device, dtype, options.policy.ema)
