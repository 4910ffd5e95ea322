"""A recogniser with the interface of sherpa-onnx's that spells how loud each tenth of a second is,
and a tiny random streaming model in its file format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from millrace.streaming.captions.speech import SPEECH_RATE, Piece

STEP = SPEECH_RATE // 10


class FakeStream:
    def __init__(self) -> None:
        self.waiting = np.zeros(0, np.float32)
        self.steps = 0
        self.restart()

    def restart(self) -> None:
        self.begin = self.steps
        self.letters: list[str] = []
        self.times: list[float] = []
        self.quiet = 0

    def accept_waveform(self, rate: int, waveform: npt.NDArray[np.float32]) -> None:
        assert rate == SPEECH_RATE
        self.waiting = np.concatenate([self.waiting, waveform])


class FakeRecogniser:
    """A word is a run of sound; its letters are the loudness of its steps.

    Args:
        pause: quiet steps that end an utterance.
    """

    def __init__(self, pause: int = 4) -> None:
        self.pause = pause

    def create_stream(self) -> FakeStream:
        return FakeStream()

    def is_ready(self, stream: FakeStream) -> bool:
        return len(stream.waiting) >= STEP

    def decode_streams(self, streams: list[FakeStream]) -> None:
        for stream in streams:
            now, stream.waiting = stream.waiting[:STEP], stream.waiting[STEP:]
            level = float(np.abs(now).max())
            if level > 0.05:
                stream.letters.append("abcdefghijk"[round(level * 10)])
                stream.times.append((stream.steps - stream.begin) * 0.1)
                stream.quiet = 0
            else:
                stream.quiet += 1
                stream.letters += [" "] if stream.quiet == 1 and stream.letters else []
            stream.steps += 1

    def get_result(self, stream: FakeStream) -> str:
        return "".join(stream.letters)

    def timestamps(self, stream: FakeStream) -> list[float]:
        return stream.times

    def start_time(self, stream: FakeStream) -> float:
        return stream.begin * 0.1

    def is_endpoint(self, stream: FakeStream) -> bool:
        return stream.quiet >= self.pause

    def reset(self, stream: FakeStream) -> None:
        stream.restart()


def speech(levels: list[float]) -> npt.NDArray[np.int16]:
    """Sound whose tenths of a second are so loud."""
    wave = np.repeat(np.array(levels) * 32_767, STEP)
    return wave.astype(np.int16)


def pieces(samples: npt.NDArray[np.int16], sizes: list[int], at: float = 0.0) -> list[Piece]:
    """The sound cut into pieces of these sizes, over and over."""
    found, first, turn = [], 0, 0
    while first < len(samples):
        size = sizes[turn % len(sizes)]
        found.append(Piece(at + first / SPEECH_RATE, samples[first : first + size]))
        first, turn = first + size, turn + 1
    return found


WORDS = ("▁one", "▁two", "▁three", "▁four")


def make_model(folder: Path, seed: int = 0, streaming: bool = True) -> Path:
    """A random CTC model in the format of NeMo's cache-aware streaming exports: one convolution
    over 80 mel bands, eight frames a step. Without `streaming`, what a whole-file model has."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tokens = len(WORDS) + 1
    weights = np.random.default_rng(seed).standard_normal((tokens, 80, 8)).astype(np.float32)
    caches = {"cache_last_channel": 4, "cache_last_time": 4, "cache_last_channel_len": 1}

    def value(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    def cache(name: str, rank: int) -> Any:
        kind = TensorProto.INT64 if rank == 1 else TensorProto.FLOAT
        return value(name, kind, ["N", 1, 1, 1][:rank])

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["audio_signal", "w"], ["y"], strides=[8], kernel_shape=[8]),
            helper.make_node("Transpose", ["y"], ["scores"], perm=[0, 2, 1]),
            helper.make_node("LogSoftmax", ["scores"], ["logprobs"], axis=-1),
            helper.make_node("Identity", ["length"], ["logprobs_len"]),
            *(helper.make_node("Identity", [name], [f"{name}_next"]) for name in caches),
        ],
        "tiny",
        [
            value("audio_signal", TensorProto.FLOAT, ["N", 80, "T"]),
            value("length", TensorProto.INT64, ["N"]),
            *(cache(name, rank) for name, rank in caches.items()),
        ],
        [
            value("logprobs", TensorProto.FLOAT, ["N", "S", tokens]),
            value("logprobs_len", TensorProto.INT64, ["N"]),
            *(cache(f"{name}_next", rank) for name, rank in caches.items()),
        ],
        [numpy_helper.from_array(0.05 * weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    facts = {"model_type": "EncDecCTCModel", "vocab_size": tokens - 1, "normalize_type": ""}
    if streaming:
        facts |= {"window_size": 16, "chunk_shift": 8, "subsampling_factor": 8}
        dims = [f"cache_last_{what}_dim{i}" for what in ("channel", "time") for i in (1, 2, 3)]
        facts |= dict.fromkeys(dims, 1)
    for name, fact in facts.items():
        model.metadata_props.add(key=name, value=str(fact))
    folder.mkdir(exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    listed = [f"{word} {number}\n" for number, word in enumerate([*WORDS, "<blk>"])]
    (folder / "tokens.txt").write_text("".join(listed), "utf-8")
    return folder
