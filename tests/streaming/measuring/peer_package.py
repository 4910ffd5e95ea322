"""What stands in for the package streamdiffusionv2: its modules, and the calls that we make.

It reads the files that were written for it where the real one looks for them, and says so.
"""

from __future__ import annotations

from pathlib import Path

MODELS = """
TEXT_ENCODER_NAME_TO_CLASS = {"wan": None}
"""
WRAPPER = """
PROJECT_ROOT = None
"""
SMALL = """
DEFAULT_TAEHV_CHECKPOINT = "nowhere"
"""
CAUSAL = """
FLASH_ATTN_AVAILABLE = False
"""
PACKAGE = """
import json
from pathlib import Path
from types import SimpleNamespace

import models
import numpy as np
import torch
from models.wan import taehv_wrapper, wan_wrapper
from safetensors.torch import load_file


class Manager:
    def __init__(self, text):
        self.pipeline = SimpleNamespace(denoising_step_list=None)
        self.text, self.seen = text, []

    def start_stream_session(self, prompt, images, noise_scale):
        assert noise_scale == 0.8 and images.dtype == torch.bfloat16
        assert images.shape[0] == 1 and images.shape[1] == 3 and images.shape[2] == 5
        assert self.text([prompt])["prompt_embeds"].shape[0] == 1
        self.left = len(self.pipeline.denoising_step_list) - 1
        return SimpleNamespace(prompt=prompt), self.shown(images)

    def run_stream_batch(self, session, images):
        assert images.shape[2] == 4
        self.left -= 1
        return [] if self.left >= 0 else [self.shown(images)]

    def shown(self, images):
        pictures = (images[0].float() / 2 + 0.5).movedim(0, -1)
        return pictures.numpy()


class StreamDiffusionV2Pipeline:
    def __init__(self, checkpoint_folder, *, mode, device, height, width, step, model_type,
                 use_taehv):
        base = Path(wan_wrapper.PROJECT_ROOT) / f"wan_models/Wan2.1-{model_type}"
        self.config = json.loads((base / "config.json").read_text())
        self.tensors = load_file(base / "diffusion_pytorch_model.safetensors")
        trained = torch.load(Path(checkpoint_folder) / "model.pt", weights_only=True)["generator"]
        assert set(trained) == {f"model.{name}" for name in self.tensors}
        self.vae = torch.load(base / "Wan2.1_VAE.pth", weights_only=True)
        self.small = torch.load(taehv_wrapper.DEFAULT_TAEHV_CHECKPOINT, weights_only=True)
        self.given = (mode, device, height, width, step, model_type, use_taehv)
        self.noise_scale = 0.8
        text = models.TEXT_ENCODER_NAME_TO_CLASS["wan"](model_type=model_type)
        self.pipeline_manager = Manager(text)

    def close(self):
        self.closed = True
"""


def write(root: Path, version: str = "0.1.1") -> Path:
    """The package below `root`, as pip would put it there."""
    files = {
        "models/__init__.py": MODELS,
        "models/wan/__init__.py": "",
        "models/wan/wan_wrapper.py": WRAPPER,
        "models/wan/taehv_wrapper.py": SMALL,
        "models/wan/causal_model.py": CAUSAL,
        "streamdiffusionv2/__init__.py": PACKAGE,
        f"streamdiffusionv2-{version}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: streamdiffusionv2\nVersion: {version}\n"
        ),
        f"streamdiffusionv2-{version}.dist-info/RECORD": "models/__init__.py,,\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root
