"""Questions: each is answered in a fork of its viewer's stream, which goes on untouched."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from ...models.vl.arena import ArenaFull
from ...models.vl.memory.asking import prepare
from ...models.vl.spans import named_second
from .host import AnswerPart
from .messages import Ask
from .model import CaptionModel
from .passes import Job, Passes
from .questions import Question, shown
from .viewer import Viewer
from .writing import Writing

MAX_ANSWERING = 2
"""Questions of one viewer that are answered at a time; the others wait."""
NO_ROOM = "the memory for answers is full at the moment; please ask again"
NOTHING_SEEN = "nothing was seen yet; ask again when the picture is there"
SLACK = 2.0
"""Seconds before the beginning that people still mean by it."""
AHEAD = 5.0
"""Seconds by which somebody who looks at the live picture is ahead of what was read."""
NO_WORDS = "the model has no answer to that"


class Answering:
    """All questions of all viewers.

    Args:
        begin: takes a text that the model goes on with.
    """

    def __init__(
        self, model: CaptionModel, passes: Passes, begin: Callable[[Writing], None]
    ) -> None:
        self._model = model
        self._passes = passes
        self._begin = begin

    def ask(self, viewer: Viewer, ask: Ask) -> None:
        viewer.waiting.append(Question(ask.number, ask.text, ask.at))

    def due(self, viewer: Viewer) -> list[Job]:
        """Questions whose time has come: the viewer is between two turns."""
        jobs = []
        while viewer.waiting and len(viewer.answering) < MAX_ANSWERING:
            question = viewer.waiting.popleft()
            if not viewer.turns:
                viewer.tell(AnswerPart(question.number, "", True, error=NOTHING_SEEN))
                continue
            if never := never_seen(question, viewer.now):
                viewer.tell(AnswerPart(question.number, "", True, error=never))
                continue
            viewer.answering.append(question)
            try:
                jobs.append(self._put(viewer, question))
            except ArenaFull:
                self._fail(viewer, question)
        return jobs

    def drop(self, viewer: Viewer) -> None:
        """The viewer leaves."""
        for question in viewer.answering:
            self._model.reader.close(question.fork)
        viewer.answering.clear()
        viewer.waiting.clear()

    def _put(self, viewer: Viewer, question: Question) -> Job:
        """Fork the stream, and bring back what memory has on the question.

        Raises:
            ArenaFull: for that there is no room.
        """
        model, dialect = self._model, self._model.dialect
        question.now = viewer.now
        question.fork = model.reader.fork(viewer.stream)
        question.span = self._span(viewer, question)
        span = question.span
        if span is not None and not viewer.memory.focused:
            span = shown(span, tuple(viewer.turns), model.info.look.period)
        question.words = dialect.question(question.text, question.now, span)
        owed = prepare(
            model.reader,
            question.fork,
            viewer.memory,
            question.words,
            question.now,
            span,
            viewer.owed,
        )
        before = viewer.conversation.before(question.text, question.now)
        pieces = [*owed, *before, *question.words]
        return Job(
            question.fork,
            pieces,
            partial(self._read, viewer, question),
            partial(self._fail, viewer, question),
        )

    def _span(self, viewer: Viewer, question: Question) -> tuple[float, float] | None:
        """Seconds of the stream that a question is about; None for the present."""
        now, period = question.now, self._model.info.look.period
        if question.at is not None:
            if question.at >= now:
                return None
            start = question.at // period * period
            return start, start + period
        named = self._model.span(question.text, now)
        if named is None:
            return None
        start, end = (min(max(0.0, second), now) for second in named)
        return start, max(start, end)

    def _read(self, viewer: Viewer, question: Question, row: Tensor) -> None:
        question.fork.begin("answer", -1, question.now)
        question.writing = writing = Writing(
            question.fork,
            viewer.id,
            "answer",
            self._model.text.answer_tokens,
            (),
            partial(self._said, viewer, question),
            partial(self._finished, viewer, question),
        )
        if self._passes.give(writing, row):
            self._begin(writing)

    def _said(self, viewer: Viewer, question: Question) -> None:
        piece = self._piece(question, done=False)
        if piece:
            assert question.writing is not None
            question.writing.heard = True
            viewer.tell(AnswerPart(question.number, piece, span=question.span))

    def _finished(self, viewer: Viewer, question: Question) -> None:
        writing = question.writing
        assert writing is not None
        piece = self._piece(question, done=True)
        error = "" if question.told.told else NO_WORDS
        if writing.short:
            error = NO_ROOM
        self._leave(viewer, question)
        if not error:
            viewer.conversation.answered(question, writing.ids, writing.ended)
            viewer.counts.answered += 1
        viewer.tell(AnswerPart(question.number, piece, True, question.span, error=error))

    def _piece(self, question: Question, done: bool) -> str:
        assert question.writing is not None
        text = self._model.dialect.decode(question.writing.ids)
        return question.told.piece(text, done)

    def _fail(self, viewer: Viewer, question: Question) -> None:
        self._leave(viewer, question)
        viewer.tell(AnswerPart(question.number, "", True, error=NO_ROOM))

    def _leave(self, viewer: Viewer, question: Question) -> None:
        viewer.answering.remove(question)
        self._model.reader.close(question.fork)


def never_seen(question: Question, now: float) -> str:
    """Why what a question asks about cannot have been seen, or "": it names a second before the
    stream began, or one that is still to come. An answer about another time would be no answer."""
    second = named_second(question.text, now) if question.at is None else question.at
    if second is None or -SLACK <= second <= now + AHEAD:
        return ""
    if second < 0:
        return f"that was before the beginning, this is second {now:.0f}; ask about a later time"
    return f"second {second:.0f} is still to come, this is second {now:.0f}; ask again then"
