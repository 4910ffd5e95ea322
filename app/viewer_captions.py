"""One viewer's captions, questions and alerts, between the peer and the host that tells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Literal

from ..streaming.captions.host import (
    AlertFired,
    AnswerPart,
    CaptionConfig,
    CaptionEvent,
    CaptionRefused,
    CaptionSession,
    Said,
    Seen,
    Telling,
)
from ..streaming.captions.limits import MAX_QUESTION
from ..streaming.captions.speech import Words
from ..streaming.captions.track import Cue
from ..streaming.frames import Frame
from . import channel
from .answers import Answers, Hearer, Send
from .caption_desk import CaptionDesk
from .standing import Standing, fitting

log = logging.getLogger(__name__)

Of = Literal["source", "styled"]
OFF = "Turn captions on first: the language model has seen nothing of this session."


class ViewerCaptions:
    """All methods run on the loop that it was made on, but for `listen`.

    Args:
        desk: the server's captions.
        user: whose ration of questions it is.
        fps: pictures a second of the viewer's source.
        send: sends a message to the page, or drops it where there is no page yet.
    """

    def __init__(self, desk: CaptionDesk, user: str, fps: float, send: Send) -> None:
        self.on = False
        self.of: Of = "source"
        self.standing = Standing(send)
        self.session: CaptionSession | None = None
        self._desk = desk
        self._user = user
        self._fps = fps
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._answers = Answers(desk, send)
        self._zero: float | None = None
        self._until: float | None = None
        self._opening: asyncio.Task[None] | None = None
        self._trouble = ""
        self._closed = False
        self._unwatch = desk.when_changed(self._desk_changed)

    # Pictures -----------------------------------------------------------------------------------

    def see(self, frame: Frame, of: Of) -> None:
        """A picture of the viewer's; told about if it is of the kind that was wished for."""
        if self.on and of == self.of and self.session is not None:
            if self._zero is None:
                self._zero = frame.captured_at
                self.tell()
            self.session.see(frame)

    # Speech -------------------------------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether words of the viewer's source would find a place."""
        return self.on and self.session is not None and self._zero is not None

    def hear(self, words: Words) -> None:
        """What was said in the viewer's source."""
        if self.session is None or self._zero is None:
            return
        start = max(0.0, words.start - self._zero)
        end = max(start, words.end - self._zero)
        delay = max(0.0, self._desk.clock.now() - words.end)
        cue = Cue(words.id, start, end, words.text, "speech", words.final)
        self.session.hear(cue, delay)

    # From the page ------------------------------------------------------------------------------

    def obey(self, message: channel.CaptionMessage) -> None:
        """One message of the page; what cannot be done is answered there."""
        try:
            match message:
                case channel.Captions(on, of, instruction):
                    self.set(on, of, instruction)
                case channel.Ask(text, at, id):
                    self.ask(text, at, id)
                case channel.Watch(text):
                    self.watch(text)
                case channel.Unwatch(alert):
                    self.unwatch(alert)
        except CaptionRefused as error:
            if isinstance(message, channel.Ask):
                self._answers.send(message.id, AnswerPart(-1, "", done=True, error=str(error)))
            else:
                about = type(message).__name__.lower()
                self._send("error", message=str(error), about=about, id=message.id)

    def set(self, on: bool | None, of: Of | None, wish: str | None) -> None:
        """Change what is told of; None leaves a thing as it is.

        Raises:
            CaptionRefused: the wish is too long.
        """
        if wish is not None:
            self.standing.want(wish, self.session)
        self.of = of or self.of
        self.on = self.on if on is None else on
        self._open_if_due()
        self.tell()

    def ask(
        self, text: str, at: float | None = None, id: int | None = None, hear: Hearer | None = None
    ) -> int:
        """Put a question; the answer goes to the page and to `hear`. Returns its number.

        Raises:
            CaptionRefused: says what to do.
        """
        try:
            session = self._able()
            text = fitting(text, MAX_QUESTION, "a question")
            self._desk.ration(self._user)
            number = session.ask(text, at)
        except CaptionRefused:
            self._desk.tally.question("refused")
            raise
        self._answers.expect(number, id, hear)
        return number

    def watch(self, text: str) -> int:
        """Set a standing alert. Returns its number.

        Raises:
            CaptionRefused: says what to do.
        """
        return self.standing.watch(text, self._able())

    def unwatch(self, alert: int) -> bool:
        """Remove an alert. Returns whether there was one."""
        return self.standing.unwatch(alert, self.session)

    # To the page --------------------------------------------------------------------------------

    def greet(self) -> None:
        """Tell a page that has just connected all that it needs to draw."""
        self.tell()
        if self.standing.alerts:
            self.standing.tell()

    def tell(self) -> None:
        self._send("captions", **self.describe())

    def describe(self) -> dict[str, Any]:
        """State and wishes, and which model tells; see docs/protocol.md."""
        state, message = self._state()
        zero = None if self._zero is None else self._zero * 1000
        info = self._desk.describe()["info"]
        return {
            "state": state,
            "message": message,
            "on": self.on,
            "of": self.of,
            "instruction": self.standing.wish,
            "zero": zero,
            "until": self._until,
            "info": info,
        }

    def _state(self) -> tuple[str, str]:
        if self._desk.state != "ready":
            return self._desk.state, self._desk.message
        if not self.on:
            return "off", ""
        if self._trouble:
            return "failed", self._trouble
        return (self.session.state if self.session is not None else "opening"), ""

    def stats(self) -> Mapping[str, Any]:
        return self.session.stats() if self.session is not None else {}

    # From the host ------------------------------------------------------------------------------

    def listen(self, telling: Telling) -> None:
        """The session's listener: called on a thread of the host, so it only passes on."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is going down
            self._loop.call_soon_threadsafe(self._take, telling)

    def _take(self, telling: Telling) -> None:
        match telling:
            case Said(cue, delay):
                if cue.final:
                    self._desk.tally.cue(cue.kind, delay)
                self._send("cue", **channel.cue(cue), delay=delay)
            case Seen(until, delay):
                self._until = until
                self._send("seen", until=until, delay=delay)
            case AnswerPart():
                self._answers.take(telling)
            case AlertFired(alert, condition, time, delay):
                self._desk.tally.alert()
                self._send("alert", alert=alert, condition=condition, time=time, delay=delay)
            case CaptionEvent(kind, message, _):
                if kind == "interrupted":
                    self._answers.drop("the language model was started again; ask once more")
                elif kind == "closed":
                    self._answers.drop(message or "the captions ended")
                elif kind == "error":
                    self._send("error", message=message, about="captions", id=None)
                    return
                self._trouble = message if kind == "closed" and not self._closed else ""
                self.tell()

    # Opening and closing ------------------------------------------------------------------------

    def _desk_changed(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._again)

    def _again(self) -> None:
        if not self._closed:
            self._open_if_due()
            self.tell()

    def _open_if_due(self) -> None:
        gone = self.session is None or self.session.state == "closed"
        due = self.on and gone and self._opening is None and not self._closed
        if due and self._desk.state == "ready":
            self._trouble = ""
            self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        config = CaptionConfig(fps=self._fps, instruction=self.standing.wish)
        try:
            session = await self._loop.run_in_executor(
                self._desk.calls, self._desk.open, config, self.listen
            )
        except CaptionRefused as error:
            self._trouble = str(error)
        else:
            if self._closed:
                session.close("the viewer left")
                return
            self.session, self._zero, self._until = session, None, None
            self.standing.hold(session, config.instruction)
        finally:
            self._opening = None
        self.tell()

    async def settled(self) -> None:
        """Wait until what was turned on is open, or refused."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    def _able(self) -> CaptionSession:
        if self.session is None:
            state, message = self._state()
            raise CaptionRefused(message or (OFF if state == "off" else "One moment: it begins."))
        return self.session

    def close(self, reason: str) -> None:
        """End the captions; whoever waits for an answer is told. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._unwatch()
        self._answers.drop(reason or "the session ended")
        if self.session is not None:
            self._desk.tally.duplicates(int(self.session.stats().get("duplicates", 0)))
            self.session.close(reason)
