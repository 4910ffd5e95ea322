"""The released picture models with a UNet."""

from __future__ import annotations

from .release import Part, Released

SD2_REPO = "stabilityai/sd-turbo"
SD15_REPO = "stable-diffusion-v1-5/stable-diffusion-v1-5"
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
_CLIP_WORDS = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")

SD = (
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
