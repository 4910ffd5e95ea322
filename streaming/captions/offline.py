"""Captions and answers about a file: the live engine, fed every turn, as fast as it goes.

The same frames give the same words: nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..clock import ManualClock
from ..frames import PTS_RATE, Frame
from . import limits
from .engine import CaptionEngine
from .host import AlertFired, AnswerPart, CaptionConfig, CaptionEvent, CaptionRefused, Said, Telling
from .looks import Look
from .messages import Ask, CloseCaptions, OpenCaptions, Watch
from .model import CaptionModel
from .sampler import Sampler

SESSION = "file"


class FileCaptions:
    """One file on its way through the engine. Use it in `with`, or call `close`.

    Args:
        model: see `registry.build`; nobody else uses it meanwhile.
        config: the memory policy and the standing wish.

    Raises:
        CaptionRefused: the configuration is impossible.
    """

    def __init__(self, model: CaptionModel, config: CaptionConfig | None = None) -> None:
        config = config or CaptionConfig()
        limits.wish(config.instruction)
        self._engine = CaptionEngine(model, ManualClock(), late=float("inf"))
        self._sampler = Sampler(model.info.look)
        self._told: list[Telling] = []
        self._origin: int | None = None
        self._numbers = 0
        self.second = 0.0
        """Of the file, at which the newest frame stands."""
        self._engine.request(OpenCaptions(SESSION, config), self._told.append)
        self._engine.tick()
        for event in self._take_all():
            if isinstance(event, CaptionEvent) and event.kind == "closed":
                raise CaptionRefused(event.message)

    def __enter__(self) -> FileCaptions:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def see(self, frame: Frame) -> list[Telling]:
        """Hand in the next frame; returns what was said about all before it and it."""
        if self._origin is None:
            self._origin = frame.pts
        self.second = (frame.pts - self._origin) / PTS_RATE
        for look in self._sampler.take(frame, self.second):
            self._look(look)
        return self._take_all()

    def end(self) -> list[Telling]:
        """No frame comes any more: the rest of what is said."""
        for look in self._sampler.rest():
            self._look(look)
        return self._take_all()

    def watch(self, condition: str) -> int:
        """Set an alert. Returns its number.

        Raises:
            CaptionRefused: empty or too long.
        """
        text = limits.condition(condition)
        self._numbers += 1
        self._engine.request(Watch(SESSION, self._numbers, text))
        return self._numbers

    def ask(self, question: str, at: float | None = None) -> Iterator[AnswerPart]:
        """Ask about what was seen so far; gives the answer as it grows.

        Args:
            at: second of the file that it is about.

        Raises:
            CaptionRefused: empty or too long.
        """
        text = limits.question(question)
        self._numbers += 1
        self._engine.request(Ask(SESSION, self._numbers, text, at))
        done = False
        while not done:
            self._engine.tick()
            parts = [part for part in self._told if isinstance(part, AnswerPart)]
            self._told[:] = [other for other in self._told if not isinstance(other, AnswerPart)]
            for part in parts:
                done = part.done
                yield part

    def close(self) -> None:
        self._engine.request(CloseCaptions(SESSION))
        self._run()

    def stats(self) -> dict[str, object]:
        """Counts of turns, looks, duplicates and evictions."""
        return dict(self._engine.stats().get(SESSION, {}))

    def _look(self, look: Look) -> None:
        self._engine.look(SESSION, look)
        self._run()

    def _run(self) -> None:
        while self._engine.tick():
            pass

    def _take_all(self) -> list[Telling]:
        told = self._told[:]
        self._told.clear()
        return told


def caption_file(
    model: CaptionModel,
    frames: Iterable[Frame],
    config: CaptionConfig | None = None,
    watch: Iterable[str] = (),
) -> Iterator[Said | AlertFired]:
    """Captions of a file, in order, as they come; alerts too.

    Args:
        frames: of one session, in order; only their `pts` count.
        watch: conditions of alerts.

    Raises:
        CaptionRefused: the configuration or a condition is impossible.
    """
    with FileCaptions(model, config) as file:
        for condition in watch:
            file.watch(condition)
        for frame in frames:
            yield from _words(file.see(frame))
        yield from _words(file.end())


def ask_file(
    model: CaptionModel,
    frames: Iterable[Frame],
    question: str,
    at: float | None = None,
    config: CaptionConfig | None = None,
) -> Iterator[AnswerPart]:
    """Ask when the file stands at second `at`, by default at its end; the answer as it grows.

    Raises:
        CaptionRefused: an empty or giant question, or `at` lies outside the file.
    """
    if at is not None:
        limits.second_of_file(at)
    limits.question(question)
    with FileCaptions(model, config) as file:
        for frame in frames:
            file.see(frame)
            if at is not None and file.second >= at + model.info.look.period:
                break
        else:
            file.end()
            if at is not None and at > file.second + model.info.look.period:
                raise CaptionRefused(
                    f"second {at:g} lies after the end of the file, which has {file.second:.1f} s"
                )
        yield from file.ask(question)


def _words(told: Iterable[Telling]) -> Iterator[Said | AlertFired]:
    return (telling for telling in told if isinstance(telling, Said | AlertFired))
