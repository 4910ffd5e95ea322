"""Answers on their way from the WebRTC loop to requests over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ..streaming.captions.host import AnswerPart
from . import channel

ANSWER_S = 60.0
"""The longest that a request waits for the next words of an answer."""


class Reply:
    """An answer on its way from the WebRTC loop to a request on another one. What the request has
    not taken yet is one growing text, so a slow reader makes nothing queue up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.text = ""
        self.span: tuple[float, float] | None = None
        self.looks: tuple[float, ...] = ()
        self.error = ""
        self.done = False
        self._loop = loop
        self._news = asyncio.Event()

    def hear(self, part: AnswerPart) -> None:
        """Called on the WebRTC loop."""
        with contextlib.suppress(RuntimeError):  # the server is going down
            self._loop.call_soon_threadsafe(self._take, part)

    def _take(self, part: AnswerPart) -> None:
        self.text += part.text
        self.span, self.looks = part.span or self.span, part.looks or self.looks
        self.error, self.done = part.error, part.done
        self._news.set()

    async def parts(self) -> AsyncIterator[str]:
        """The words that are new each time, until it is done."""
        given, done = 0, False
        while not done:
            if given == len(self.text) and not self.done:
                await self._more()
            new, given, done = self.text[given:], len(self.text), self.done
            yield new

    async def _more(self) -> None:
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), ANSWER_S)
        except TimeoutError:
            self.error, self.done = "the language model did not answer in time", True


async def events(reply: Reply) -> AsyncIterator[str]:
    """An answer as server-sent events `answer`."""
    async for words in reply.parts():
        yield (
            "event: answer\ndata: "
            + channel.encode(
                "answer",
                text=words,
                done=reply.done,
                span=reply.span,
                looks=reply.looks,
                error=reply.error,
            )
            + "\n\n"
        )
