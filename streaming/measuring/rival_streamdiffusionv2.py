"""StreamDiffusionV2 (package `streamdiffusionv2`, 0.1.1) on the causal Wan models.

Built with its public class `StreamDiffusionV2Pipeline` and driven as its own demo drives it, chunk
by chunk through its pipeline manager, in its faster mode, the stream batch. It reads weights from
fixed places below one folder; they are written there in the released layout. Its prompts come from
an umT5 of eleven gigabytes, which plays no part in the speed of a stream: an embedding of noise
stands in for it.

Its noise comes from torch's generator and its stream batch keeps other histories while a stream
begins, so that pictures cannot be held against ours number by number.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ...models.estimate import dit_parameters
from ...models.loaders import WeightsError
from ...models.policies import STREAMDIFFUSION_V2
from ...models.specs import DiTSpec
from ...models.video_autoencoder import Pair
from ...models.wan import WanModel, WanSizes, load_wan, random_wan, sizes_of
from ...models.wan_sizes import CONFIG, WAN_SPECS
from ..config import ConfigError
from ..pipeline import Pipeline, PipelineContext
from ..wan import WanOptions
from .rivals import Challenge, Entry, RivalError, quiet, version_of

PACKAGE = "streamdiffusionv2"
TYPES = {"wan2.1-1.3b": "T2V-1.3B", "wan2.1-14b": "T2V-14B"}
CHUNK = 4
TIMESTEPS = (700, 500, 400, 200)
"""Of its schedule; the first so many are run."""


def weights(challenge: Challenge) -> int:
    """Bytes of its copy of the transformer, which it keeps in bfloat16."""
    return 2 * dit_parameters(WAN_SPECS[challenge.model])


def export(challenge: Challenge) -> None:
    """Write the weights where it looks for them.

    Raises:
        RivalError: a policy or a data type that it does not have, or parts that are not there.
    """
    if challenge.dtype != torch.bfloat16:
        raise RivalError(f"{PACKAGE} runs in bfloat16 alone; add --dtype bfloat16")
    model = _model(challenge)
    base, trained = _base(challenge), challenge.folder / "ckpts" / "trained"
    for folder in (base, trained):
        folder.mkdir(parents=True)
    tensors = _plain(model.dit)
    (base / CONFIG.name).write_text(json.dumps(_config(model.sizes.dit)), "utf-8")
    save_file(tensors, base / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    named = {f"model.{name}": value for name, value in tensors.items()}
    torch.save({"generator": named}, trained / "model.pt")
    assert isinstance(model.autoencoder, Pair)
    for half, path in (
        (model.autoencoder.encoder, base / "Wan2.1_VAE.pth"),
        (model.autoencoder.decoder, _small(challenge)),
    ):
        assert isinstance(half, nn.Module)
        torch.save(_plain(half), path)


def _base(challenge: Challenge) -> Path:
    return challenge.folder / "wan_models" / f"Wan2.1-{TYPES[challenge.model]}"


def _small(challenge: Challenge) -> Path:
    return challenge.folder / "ckpts" / "taew2_1.pth"


def _model(challenge: Challenge) -> WanModel:
    """Our model with both autoencoders, on the host."""
    context = PipelineContext(options=challenge.settings)
    try:
        options = WanOptions.read(challenge.model, context)
        policy, named = options.policy, WAN_SPECS[challenge.model]
        if policy.history != STREAMDIFFUSION_V2.history or policy.frames != 1:
            raise RivalError(f"{PACKAGE} streams in its own way; leave --option policy out")
        if options.weights is None:
            sizes = WanSizes(policy.spec(named))
            return random_wan(sizes, "wan+taehv", "cpu", challenge.dtype)
        sizes = sizes_of(options.weights, named, policy, "wan+taehv")
        return load_wan(options.weights, sizes, "wan+taehv", "cpu", challenge.dtype, policy.ema)
    except (ConfigError, FileNotFoundError, WeightsError) as error:
        raise RivalError(f"{PACKAGE} needs all parts of the model: {error}") from error


def _plain(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in module.state_dict().items()}


def _config(spec: DiTSpec) -> dict[str, object]:
    """As the released file has it."""
    return {
        "_class_name": "WanModel",
        "model_type": "t2v",
        "text_len": spec.text_len,
        "in_dim": spec.in_channels,
        "dim": spec.dim,
        "ffn_dim": spec.ffn_dim,
        "freq_dim": spec.freq_dim,
        "out_dim": spec.out_channels,
        "num_heads": spec.heads,
        "num_layers": spec.layers,
        "eps": spec.eps,
    }


def build(challenge: Challenge, pipeline: Pipeline) -> StreamDiffusionV2:
    """Its pipeline, from the exported folder.

    Raises:
        RivalError: another package hides its modules.
    """
    _check_modules()
    return StreamDiffusionV2(challenge)


def _check_modules() -> None:
    """It brings top-level modules with common names: ours, or a stranger's, must not hide them."""
    own = Path(str(metadata.distribution(PACKAGE).locate_file("models/__init__.py")))
    found = importlib.util.find_spec("models")
    if found is None or found.origin is None or Path(found.origin).resolve() != own.resolve():
        where = None if found is None else found.origin
        raise RivalError(
            f"{PACKAGE} needs its own module `models` ({own}), but Python finds {where}; "
            "start from another folder"
        )


class StreamDiffusionV2:
    """See `rivals.Rival`."""

    chunk, first_chunk = CHUNK, CHUNK + 1
    same_noise = False

    def __init__(self, challenge: Challenge) -> None:
        self.name = f"{PACKAGE} {version_of(ENTRY)}"
        width, height = challenge.size
        self._device = torch.device(challenge.device)
        small = challenge.settings.get("vae", "taehv") != "wan"
        _place(challenge)
        with quiet("diffusers"):
            self._pipe = importlib.import_module(PACKAGE).StreamDiffusionV2Pipeline(
                str(challenge.folder / "ckpts" / "trained"),
                mode="single",
                device=str(self._device),
                height=height,
                width=width,
                step=len(TIMESTEPS),
                model_type=TYPES[challenge.model],
                use_taehv=small,
            )
        self._manager = self._pipe.pipeline_manager
        self._session: Any = None
        self.note = _note(str(challenge.settings.get("vae", "taehv")))

    def begin(self, steps: int) -> None:
        # A new one each time, as its noise control writes into it.
        chosen = torch.tensor(TIMESTEPS[:steps], dtype=torch.long, device=self._device)
        self._manager.pipeline.denoising_step_list = chosen
        self._session = None

    @torch.no_grad()
    def draw(self, pictures: Tensor) -> Tensor | None:
        video = (2 * pictures - 1).movedim(0, 1)[None].to(self._device, torch.bfloat16)
        if self._session is None:
            scale = self._pipe.noise_scale
            self._session, shown = self._manager.start_stream_session("noise", video, scale)
            return torch.from_numpy(shown).movedim(-1, 1)
        parts = self._manager.run_stream_batch(self._session, video)
        return torch.from_numpy(parts[-1]).movedim(-1, 1) if parts else None

    def close(self) -> None:
        self._pipe.close()


def _note(vae: str) -> str:
    flash = importlib.import_module("models.wan.causal_model").FLASH_ATTN_AVAILABLE
    attention = "flash-attn" if flash else "PyTorch's attention, as flash-attn is not installed"
    coder = {
        "taehv": "; it encodes with the large autoencoder, as it has no small encoder",
        "wan+taehv": "; large encoder and small decoder, as ours",
        "wan": "; the large autoencoder both ways, as ours",
    }[vae]
    return f"stream batch, bfloat16, {attention}{coder}; float32 RGB in and out"


def _place(challenge: Challenge) -> None:
    """Tell its modules where its files are; they only ask the environment when first imported."""
    wrapper: ModuleType = importlib.import_module("models.wan.wan_wrapper")
    small: ModuleType = importlib.import_module("models.wan.taehv_wrapper")
    classes: ModuleType = importlib.import_module("models")
    vars(wrapper)["PROJECT_ROOT"] = challenge.folder
    vars(small)["DEFAULT_TAEHV_CHECKPOINT"] = str(_small(challenge))
    spec = WAN_SPECS[challenge.model]

    def stand_in(model_type: str) -> nn.Module:
        return PromptStandIn(spec.text_len, spec.text_dim)

    vars(classes)["TEXT_ENCODER_NAME_TO_CLASS"]["wan"] = stand_in


class PromptStandIn(nn.Module):
    """Gives noise for an embedding, in place of umT5."""

    embedding: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        noise = torch.randn(1, length, dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("embedding", noise)

    def forward(self, text_prompts: list[str]) -> dict[str, Tensor]:
        return {"prompt_embeds": self.embedding.repeat(len(text_prompts), 1, 1)}


INSTALL = (
    f"install it with pip install --no-deps {PACKAGE}, as it pins versions that are older than "
    "ours, and pip install omegaconf einops ftfy torchvision accelerate for it"
)
ENTRY = Entry(PACKAGE, INSTALL, tuple(TYPES), weights, export, build)
