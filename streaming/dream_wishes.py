"""What viewers want of the embedded text-to-video model: their words, and how soon they count."""

from __future__ import annotations

from ..models.blends import blend, share_after
from ..models.scene import SceneModel
from .brought import numbers_on
from .controls import Controls
from .dream_info import AT_ONCE
from .dream_looks import Looks
from .dream_streams import Stream


class Wishes:
    """Reads words and gives their streams what they are drawn from.

    Args:
        looks: who draws in looks; None for nobody.
    """

    def __init__(self, model: SceneModel, looks: Looks | None) -> None:
        self._model, self._looks = model, looks

    def heed(self, stream: Stream, controls: Controls) -> None:
        """What the viewer wants from this chunk on."""
        bank = stream.bank
        row = numbers_on(bank.chunks.x.device).of((stream.slot,))
        stream.seed, stream.guidance = int(controls.number("seed")), controls.number("guidance")
        bank.chunks.seeds.index_fill_(0, row, stream.seed)
        text = controls.text("prompt")
        if text != stream.text:
            stream.text, before = text, stream.scene
            self._understand(stream, text)
            if stream.context is None or stream.scene != before:
                stream.since, stream.done = stream.context, 0
                stream.chunks = int(controls.number("transition"))
        elif stream.begun and stream.done >= stream.chunks:
            return
        if stream.since is None or not stream.begun:
            stream.done = stream.chunks
        stream.done += 1
        goal = self._model.context(self._model.tokens([stream.scene]))[0]
        share = share_after(stream.done, stream.chunks)
        stream.context = goal
        if stream.since is not None and share < 1:
            stream.context = blend((stream.since, goal), (1 - share, share))
        at_once = controls.text("reach") == AT_ONCE
        bank.buffer.set_context(bank.chunks, row, stream.context[None], at_once)

    def _understand(self, stream: Stream, text: str) -> None:
        """The parts of a prompt, and what the viewer is told of them."""
        stream.scene, look, unknown = text, "", []
        stream.notes = {}
        if self._looks is not None:
            wording = self._looks.split(text, lambda part: not self._model.hear(part).unknown)
            stream.scene, look = wording.scene, wording.look
            if wording.understood is not None:
                weights = wording.understood.weights
                stream.notes["look"] = [[name, round(weight, 3)] for name, weight in weights]
                unknown = list(wording.understood.unknown)
        self.restyle(stream, look)
        heard = self._model.hear(stream.scene)
        stream.notes["understood"] = [[" ".join(heard.words) or "any scene", 1.0]]
        stream.notes["unknown"] = [*heard.unknown, *unknown]

    def restyle(self, stream: Stream, look: str) -> None:
        """Begin or end the second stage."""
        stream.look = look
        if self._looks is None:
            return
        if look and stream.styled is None:
            stream.styled = self._looks.open(self._looks.drawn_for(stream.size))
        elif not look and stream.styled is not None:
            self._looks.close(stream.styled)
            stream.styled = None
