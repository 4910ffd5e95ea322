"""The second stage of the embedded text-to-video model: "waves at sunset, oil painting" is drawn
as waves at sunset, and each picture then goes through the embedded stylizer as an oil painting.

It is that pipeline as it is, with its own streams, memory and words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ..models.graphs import Recorder
from ..models.text import CAMERA, PromptEncoder, Understanding
from ..models.video import VideoModel
from .controls import Controls
from .diffusion import VideoDiffusion
from .dream_streams import Size
from .pipeline import StreamConfig, Work
from .tiny import tiny_parts
from .tiny_info import STRIDE, TINY_INFO

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Wording:
    """A prompt in two parts; what was made of the look, None for none."""

    scene: str
    look: str = ""
    understood: Understanding | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Pictures of one stream to be drawn in its look.

    Attributes:
        stream: from `Looks.open`.
        first: number of the first picture in its stream.
        pictures: [T, 3, H, W] in 0..1, of the size that the stream was opened with.
        controls: from `Looks.controls`.
    """

    stream: Any
    first: int
    pictures: Tensor
    controls: Controls


class Looks:
    """The stylizer as a stage of another pipeline.

    Args:
        streams: most of one size at a time.
        recorder: see `VideoDiffusion`.
    """

    def __init__(
        self,
        model: VideoModel,
        prompts: PromptEncoder,
        streams: int,
        recorder: Recorder | None = None,
    ) -> None:
        self._prompts = prompts
        parts = tiny_parts(model, prompts)
        self._pipeline = VideoDiffusion(parts, streams=streams, recorder=recorder)
        self.tally = self._pipeline.tally

    def split(self, prompt: str, is_scene: Callable[[str], bool]) -> Wording:
        """The parts behind the last commas that name looks, and what is before them.

        Args:
            is_scene: whether a part says something of the scene alone ("wheat, a meadow"; "at
                sunset", which is a look's word too).
        """
        parts = prompt.split(",")
        cut = len(parts)
        while cut > 1 and parts[cut - 1].strip() and not is_scene(parts[cut - 1]):
            if self._named(parts[cut - 1]) is None:
                break
            cut -= 1
        look = ",".join(parts[cut:]).strip()
        understood = self._named(look) if look else None
        if understood is None:
            return Wording(prompt)
        return Wording(",".join(parts[:cut]).strip(), look, understood)

    def _named(self, words: str) -> Understanding | None:
        """What a text says of looks; None when that is nothing, or the plain picture."""
        understood = self._prompts.understand(words)
        plain = understood.weights[0][0] == CAMERA
        return understood if understood.recognised and not plain else None

    def open(self, size: Size) -> Any:
        """A stream for pictures of a size (height and width) from `drawn_for`."""
        return self._pipeline.open(StreamConfig(width=size[1], height=size[0]))

    def close(self, stream: Any) -> None:
        self._pipeline.close(stream)

    def save(self, stream: Any) -> dict[str, npt.NDArray[Any]]:
        """See `pipeline.Portable`."""
        return self._pipeline.save(stream)

    def load(self, size: Size, saved: Arrays) -> Any:
        """See `pipeline.Portable`."""
        return self._pipeline.load(StreamConfig(width=size[1], height=size[0]), saved)

    @staticmethod
    def drawn_for(size: Size) -> Size:
        """The size that the stylizer draws for pictures of `size`: a little larger where it must
        be, smaller where it can do no more."""
        scale = min(1.0, TINY_INFO.max_side / max(size))
        height, width = (-(-int(side * scale) // STRIDE) * STRIDE for side in size)
        return height, width

    @staticmethod
    def controls(look: str, strength: float, seed: int, resets: int) -> Controls:
        """What is asked of the stylizer: one step, as for a viewer who chose nothing else."""
        values = {"prompt": look, "strength": strength, "seed": seed}
        chosen = Controls.defaults(TINY_INFO.controls).changed(TINY_INFO.controls, values)
        return Controls(chosen.values, resets=resets)

    def draw(self, jobs: Sequence[Job]) -> list[Tensor]:
        """[T, 3, H, W] in 0..1 for each job, all streams together, one picture after another."""
        drawn: list[list[Tensor]] = [[] for _ in jobs]
        for number in range(max((len(job.pictures) for job in jobs), default=0)):
            works = [
                Work(job.stream, job.first + number, job.pictures[number, None], job.controls)
                for job in jobs
            ]
            frames = {id(result.stream): result.frames for result in self._pipeline.step(works)}
            for job, mine in zip(jobs, drawn, strict=True):
                mine.append(frames[id(job.stream)])
        return [torch.cat(pictures) for pictures in drawn]
