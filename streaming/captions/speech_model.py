"""A folder with a streaming speech model: which files it has, and how they are loaded.

What sherpa-onnx publishes is a folder with `tokens.txt` and either encoder, decoder and joiner (a
transducer) or one model (CTC). Loads sherpa-onnx only in `build`.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from .speech import SPEECH_RATE, Recogniser

Kind = Literal["transducer", "nemo_ctc", "zipformer2_ctc", "wenet_ctc"]
PACKAGE = "sherpa_onnx"
HOW_TO = (
    "No speech is heard: start the server with --asr FOLDER, a streaming model for sherpa-onnx "
    "(tokens.txt with encoder, decoder and joiner, or one CTC model), to have it here too."
)
EXPECTED = (
    "expected tokens.txt and either encoder*.onnx, decoder*.onnx and joiner*.onnx (a transducer) "
    "or one model*.onnx (CTC), as in the folders that sherpa-onnx publishes as streaming models"
)
MARKS: tuple[tuple[bytes, Kind], ...] = (
    (b"cache_last_channel_dim1", "nemo_ctc"),
    (b"zipformer2", "zipformer2_ctc"),
    (b"subsampling_factor", "wenet_ctc"),
)
"""What the metadata of a streaming CTC model names, and only that."""
PAUSE_S, SILENCE_S, LONGEST_S = 0.8, 2.4, 12.0
"""An utterance ends after a pause, after silence without words, or when it is this long: a caption
that grows for longer is hard to read."""


class SpeechError(ValueError):
    """There is no usable model; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """What the user asked for.

    Attributes:
        path: the model's folder.
        threads: of the recogniser.
        log: file to which the worker writes what the model's loader says.
    """

    path: Path
    threads: int = 1
    log: str = ""


@dataclass(frozen=True, slots=True)
class SpeechInfo:
    """Attributes:
    name: of the model, for people.
    kind: how it is built.
    """

    name: str
    kind: str

    @property
    def sentence(self) -> str:
        return f"Speech is heard by {self.name} ({self.kind}), on this server."


@dataclass(frozen=True, slots=True)
class SpeechFiles:
    """The files of one model, by their role."""

    kind: Kind
    tokens: Path
    parts: tuple[Path, ...]

    @property
    def info(self) -> SpeechInfo:
        return SpeechInfo(self.tokens.parent.name, self.kind.replace("_", " "))


def check(path: Path) -> SpeechFiles:
    """Find the model in a folder, without loading it.

    Raises:
        SpeechError: the package or a file is missing, or the model is no streaming one.
    """
    if find_spec(PACKAGE) is None:
        raise SpeechError(
            "speech needs the package sherpa-onnx, which is not installed; "
            "add it with: pip install 'millrace[asr]'"
        )
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise SpeechError(f"--asr {path} {what}; give the folder of a model: {EXPECTED}")
    tokens = path / "tokens.txt"
    if not tokens.is_file():
        raise SpeechError(f"--asr {path}: tokens.txt is missing; {EXPECTED}")
    parts = {name: _one(path, name) for name in ("encoder", "decoder", "joiner")}
    if any(parts.values()):
        return _transducer(path, tokens, parts)
    model = _one(path, "model") or _only(path)
    if model is None:
        raise SpeechError(f"--asr {path}: there is no model; {EXPECTED}")
    return SpeechFiles(_kind(model), tokens, (model,))


def _transducer(path: Path, tokens: Path, parts: dict[str, Path | None]) -> SpeechFiles:
    missing = [f"{name}*.onnx" for name, part in parts.items() if part is None]
    if missing:
        raise SpeechError(f"--asr {path}: {' and '.join(missing)} missing; {EXPECTED}")
    return SpeechFiles("transducer", tokens, tuple(part for part in parts.values() if part))


def _one(path: Path, name: str) -> Path | None:
    """The file of a role; of two, the one of smaller numbers, which is as good and faster here."""
    found = sorted(path.glob(f"{name}*.onnx"))
    small = [file for file in found if ".int8." in file.name]
    return next(iter(small or found), None)


def _only(path: Path) -> Path | None:
    found = sorted(path.glob("*.onnx"))
    return found[0] if len(found) == 1 else None


def _kind(model: Path) -> Kind:
    if model.stat().st_size:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for mark, kind in MARKS:
                if data.rfind(mark) >= 0:
                    return kind
    raise SpeechError(
        f"{model} is not a streaming model: its metadata names no caches and no chunks; whole-file "
        f"models cannot hear live; {EXPECTED}"
    )


def build(options: SpeechOptions) -> tuple[Recogniser, SpeechInfo]:
    """Load the model.

    Raises:
        SpeechError: see `check`, or sherpa-onnx refuses the files. It ends the whole process where
            metadata is missing, so this belongs into a process of its own.
    """
    files = check(options.path)
    from sherpa_onnx import OnlineRecognizer

    shared: dict[str, Any] = {
        "tokens": str(files.tokens),
        "num_threads": options.threads,
        "sample_rate": SPEECH_RATE,
        "enable_endpoint_detection": True,
        "rule1_min_trailing_silence": SILENCE_S,
        "rule2_min_trailing_silence": PAUSE_S,
        "rule3_min_utterance_length": LONGEST_S,
    }
    make = getattr(OnlineRecognizer, f"from_{files.kind}")
    names = ("encoder", "decoder", "joiner") if files.kind == "transducer" else ("model",)
    given = {name: str(part) for name, part in zip(names, files.parts, strict=True)}
    try:
        recogniser: Recogniser = make(**given, **shared)
    except RuntimeError as error:
        raise SpeechError(
            f"the speech model in {options.path} cannot be loaded: {error}"
        ) from error
    return recogniser, files.info
