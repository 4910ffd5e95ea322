"""The released causal Wan 2.1 models. Both sizes come with the same shared files."""

from __future__ import annotations

from .release import Part, Released

WAN_REPO = "Wan-AI/Wan2.1-T2V-1.3B"
WAN_14B_REPO = "Wan-AI/Wan2.1-T2V-14B"
_SHARED = (
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
_CONFIG = Part("config", WAN_REPO, ("config.json",), 249, "apache-2.0")
"""The sizes of the transformer, which its own file does not tell."""

WAN = (
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
            *_SHARED,
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
            *_SHARED,
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
            *_SHARED,
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
            *_SHARED,
        ),
        "wan",
        "wan2.1-1.3b",
        "wan2.1-1.3b",
        "causvid",
    ),
)
