"""The released models that this version can fetch and run: plain data, without torch.

Names, sizes and licences are those of the public repositories as far as public records show them;
`Part.verified` says where they do. Nothing here was downloaded. A pulled model lies in
`<root>/<name>/<role>/<file>`, and a folder that was filled in another way works as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Family = Literal["wan", "sd", "vl"]

WAN_REPO = "Wan-AI/Wan2.1-T2V-1.3B"
WAN_14B_REPO = "Wan-AI/Wan2.1-T2V-14B"
SD2_REPO = "stabilityai/sd-turbo"
SD15_REPO = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True, slots=True)
class Part:
    """Files of one repository that play one role in a model.

    Attributes:
        role: "config", "dit", "vae", "taehv", "text_encoder", "tokenizer", "unet", "lora" or
            "model": the folder in which the files lie here.
        repo: the hub's name of the repository.
        files: the names there, below `folder`; patterns with * are allowed.
        bytes: of all of them together, as far as known; the hub is asked again before a download.
        licence: under which its owner gives it out.
        sha256: by file name, where several public records agree; the hub tells the others.
        folder: of the repository in which the files lie; it is left out here.
        drop: of the file names is left out here, so that loaders need not know of variants.
        verified: repository, file names, sizes and licence were found in public records.
    """

    role: str
    repo: str
    files: tuple[str, ...]
    bytes: int
    licence: str
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    folder: str = ""
    drop: str = ""
    verified: bool = True

    def remote(self) -> tuple[str, ...]:
        """The patterns as the repository has them."""
        return tuple(f"{self.folder}/{name}" if self.folder else name for name in self.files)

    def local(self, path: str) -> str:
        """Where a file of the repository lies here, below the folder of its role."""
        name = path.removeprefix(f"{self.folder}/") if self.folder else path
        return name.replace(self.drop, "") if self.drop else name


@dataclass(frozen=True, slots=True)
class Released:
    """One model that `millrace models pull` fetches.

    Attributes:
        name: on the command line.
        about: one line on what it does.
        parts: all that it needs.
        family: which loader reads it.
        spec: name of its dimensions.
        runs: what runs it: the name that `--model` takes, or "" where `--vlm` takes this name.
        policy: how its weights want to be streamed, a name of `policies`; "" for the usual way.
    """

    name: str
    about: str
    parts: tuple[Part, ...]
    family: Family
    spec: str
    runs: str
    policy: str = ""

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def roles(self) -> tuple[str, ...]:
        """In their order, each once."""
        return tuple(dict.fromkeys(part.role for part in self.parts))


_WAN_SHARED = (
    Part(
        "vae",
        WAN_REPO,
        ("Wan2.1_VAE.pth",),
        507_609_880,
        "apache-2.0",
        {"Wan2.1_VAE.pth": "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981"},
    ),
    Part("taehv", "lightx2v/Autoencoders", ("taew2_1.pth",), 22_679_486, "apache-2.0"),
    Part(
        "text_encoder",
        WAN_REPO,
        ("models_t5_umt5-xxl-enc-bf16.pth",),
        11_361_920_418,
        "apache-2.0",
        {
            "models_t5_umt5-xxl-enc-bf16.pth": (
                "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d"
            )
        },
    ),
    Part(
        "tokenizer",
        WAN_REPO,
        ("spiece.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        21_454_081,
        "apache-2.0",
        {
            "spiece.model": "e3909a67b780650b35cf529ac782ad2b6b26e6d1f849d3fbb6a872905f452458",
            "tokenizer.json": "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b",
        },
        folder="google/umt5-xxl",
    ),
)
"""The 14B repository has the same files, byte for byte."""

_TAESD = Part(
    "vae",
    "madebyollin/taesd",
    ("config.json", "diffusion_pytorch_model.safetensors"),
    9_794_000,
    "mit",
    {
        "diffusion_pytorch_model.safetensors": (
            "db169d69145ec4ff064e49d99c95fa05d3eb04ee453de35824a6d0f325513549"
        )
    },
)

_CONFIG = Part("config", WAN_REPO, ("config.json",), 249, "apache-2.0")
"""The sizes of the transformer, which its own file does not tell."""

_CLIP_WORDS = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")

_WAN = (
    Released(
        "wan2.1-1.3b",
        "restyles and makes video from words, causal Wan 2.1 of StreamDiffusionV2",
        (
            Part(
                "dit",
                "jerryfeng/StreamDiffusionV2",
                ("model.pt",),
                5_676_282_858,
                "apache-2.0",
                folder="wan_causal_dmd_v2v",
            ),
            _CONFIG,
            *_WAN_SHARED,
        ),
        "wan",
        "wan2.1-1.3b",
        "wan2.1-1.3b",
    ),
    Released(
        "wan2.1-14b",
        "the same, ten times the size",
        (
            Part(
                "dit",
                "jerryfeng/StreamDiffusionV2",
                ("model.pt",),
                28_577_332_702,
                "apache-2.0",
                folder="wan_causal_dmd_v2v_14b",
            ),
            Part("config", WAN_14B_REPO, ("config.json",), 250, "apache-2.0"),
            *_WAN_SHARED,
        ),
        "wan",
        "wan2.1-14b",
        "wan2.1-14b",
    ),
    Released(
        "self-forcing-1.3b",
        "makes video from words, causal Wan 2.1 of Self-Forcing",
        (
            Part(
                "dit",
                "gdhe17/Self-Forcing",
                ("self_forcing_dmd.pt",),
                5_676_252_553,
                "see the repository",
                folder="checkpoints",
                verified=False,
            ),
            _CONFIG,
            *_WAN_SHARED,
        ),
        "wan",
        "wan2.1-1.3b",
        "wan2.1-1.3b",
        "self-forcing",
    ),
    Released(
        "causvid-1.3b",
        "makes video from words, causal Wan 2.1 of CausVid; not for commercial use",
        (
            Part(
                "dit",
                "tianweiy/CausVid",
                ("model.pt",),
                11_352_649_716,
                "cc-by-nc-sa-4.0",
                folder="autoregressive_checkpoint",
            ),
            _CONFIG,
            *_WAN_SHARED,
        ),
        "wan",
        "wan2.1-1.3b",
        "wan2.1-1.3b",
        "causvid",
    ),
)

_SD = (
    Released(
        "sd-turbo",
        "restyles picture by picture, in one to four steps",
        (
            Part(
                "unet",
                SD2_REPO,
                ("config.json", "diffusion_pytorch_model.fp16.safetensors"),
                1_730_000_000,
                "of Stability AI, see the repository",
                folder="unet",
                drop=".fp16",
            ),
            _TAESD,
            Part(
                "text_encoder",
                SD2_REPO,
                ("config.json", "model.fp16.safetensors"),
                681_000_000,
                "of Stability AI, see the repository",
                folder="text_encoder",
                drop=".fp16",
                verified=False,
            ),
            Part(
                "tokenizer",
                SD2_REPO,
                _CLIP_WORDS,
                1_590_000,
                "of Stability AI, see the repository",
                folder="tokenizer",
                verified=False,
            ),
        ),
        "sd",
        "sd-turbo",
        "sd-turbo",
    ),
    Released(
        "sd1.5-lcm",
        "restyles picture by picture, in one to eight steps; takes the LoRAs of SD 1.5",
        (
            Part(
                "unet",
                SD15_REPO,
                ("config.json", "diffusion_pytorch_model.fp16.safetensors"),
                1_720_000_000,
                "creativeml-openrail-m",
                folder="unet",
                drop=".fp16",
            ),
            _TAESD,
            Part(
                "text_encoder",
                SD15_REPO,
                ("config.json", "model.fp16.safetensors"),
                246_000_000,
                "creativeml-openrail-m",
                folder="text_encoder",
                drop=".fp16",
                verified=False,
            ),
            Part(
                "tokenizer",
                SD15_REPO,
                _CLIP_WORDS,
                1_590_000,
                "creativeml-openrail-m",
                folder="tokenizer",
                verified=False,
            ),
            Part(
                "lora",
                "latent-consistency/lcm-lora-sdv1-5",
                ("pytorch_lora_weights.safetensors",),
                135_000_000,
                "openrail++",
            ),
        ),
        "sd",
        "sd1.5-lcm",
        "sd1.5-lcm",
    ),
)

_VL_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")


def _teller(name: str, about: str, repo: str, size: int, licence: str, verified: bool) -> Released:
    part = Part("model", repo, _VL_FILES, size, licence, verified=verified)
    return Released(name, about, (part,), "vl", name, "")


_VL = (
    _teller(
        "qwen2.5-vl-3b",
        "tells what happens and answers questions; not for commercial use",
        "Qwen/Qwen2.5-VL-3B-Instruct",
        7_520_000_000,
        "qwen-research; not for commercial use",
        verified=False,
    ),
    _teller(
        "qwen2.5-vl-7b",
        "tells what happens and answers questions",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        16_600_000_000,
        "apache-2.0",
        verified=False,
    ),
    _teller(
        "streaming-vlm",
        "comments on endless video; Qwen2.5-VL 7B trained on by others",
        "mit-han-lab/StreamingVLM",
        16_600_000_000,
        "see the repository",
        verified=False,
    ),
)

RELEASED: Mapping[str, Released] = {model.name: model for model in (*_WAN, *_SD, *_VL)}


def folder_of(name: str, root: Path) -> Path:
    """Where a pulled model lies: its parts are folders in it, by role."""
    return root / name
