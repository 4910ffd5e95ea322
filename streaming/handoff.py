"""Where threads meet: bounded boxes that say what they drop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .frames import Frame

Item = TypeVar("Item")


def _nothing() -> None:
    return None


def _no_time() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Head:
    """The chunk that `Mailbox.take_chunk` would give.

    Attributes:
        number: of its last frame, counted from 1; another number is another chunk.
        arrived: when that frame was put in, in seconds of the mailbox's clock.
    """

    number: int
    arrived: float
    frames: tuple[Frame, ...]


class Mailbox:
    """Frames on their way into the engine, taken a chunk at a time.

    Live (the default): the T newest frames win. `put` never waits; the oldest frame that was not
    taken yet goes and is counted in `superseded`. A chunk is then T consecutive puts, and the hole
    that a drop leaves lies between two chunks, never inside one.

    Lossless (files): nothing is dropped. `put` refuses, or waits as long as it is told to, while
    two chunks are waiting.

    After `end` no frame is taken in and the rest comes out, the last chunk possibly shorter than T.
    After `close` nothing comes out either.

    Args:
        chunk: T, frames in a chunk.
        lossless: keep every frame instead of the newest.
        on_change: called after each put, `end` and `close`, outside the lock; wakes the engine.
        now: what arrivals are stamped with.
    """

    def __init__(
        self,
        chunk: int,
        *,
        lossless: bool = False,
        on_change: Callable[[], None] = _nothing,
        now: Callable[[], float] = _no_time,
    ) -> None:
        if chunk < 1:
            raise ValueError(f"a chunk has at least one frame; got {chunk}")
        self.chunk = chunk
        self._lossless = lossless
        self._now = now
        self._count = 0
        self._arrived = 0.0
        self._on_change = on_change
        self._frames: deque[Frame] = deque()
        self._room = threading.Condition(threading.Lock())
        self._ended = False
        self.superseded = 0
        self.taken = 0
        """Number of the last frame that was taken."""

    def put(self, frame: Frame, timeout: float | None = 0.0) -> bool:
        """Hand a frame in. Returns False when it was not taken (ended, or full and lossless).

        Args:
            timeout: seconds that a lossless put may wait for room; None waits until there is some.
                A live put never waits.
        """
        with self._room:
            if self._lossless:
                self._room.wait_for(self._can_take, timeout)
            if self._ended or (self._lossless and not self._can_take()):
                return False
            self._frames.append(frame)
            self._count += 1
            self._arrived = self._now()
            if not self._lossless and len(self._frames) > self.chunk:
                self._frames.popleft()
                self.superseded += 1
        self._on_change()
        return True

    @property
    def lossless(self) -> bool:
        """Whether every frame is kept."""
        return self._lossless

    def head(self, known: int = 0) -> Head | None:
        """The chunk that waits, of a live mailbox; None when there is none, or its number is no
        higher than `known`."""
        with self._room:
            if not self._ready() or self._count <= known:
                return None
            return Head(self._count, self._arrived, tuple(self._frames))

    def take_chunk(self, number: int | None = None) -> tuple[Frame, ...] | None:
        """The next T frames, or the rest once the input ended, or None while there are too few.

        Args:
            number: only take the chunk of this `Head.number`.
        """
        with self._room:
            if not self._ready() or (number is not None and number != self._count):
                return None
            self.taken = self._count
            taken = tuple(self._frames.popleft() for _ in range(min(self.chunk, len(self._frames))))
            self._room.notify_all()
            return taken

    def take_rest(self) -> tuple[Frame, ...]:
        """All frames that wait, fewer than a chunk too."""
        with self._room:
            taken = tuple(self._frames)
            self._frames.clear()
            self._room.notify_all()
            return taken

    def ready(self) -> bool:
        """Whether `take_chunk` would give a chunk."""
        with self._room:
            return self._ready()

    @property
    def ended(self) -> bool:
        """True when nothing more will ever come in."""
        return self._ended

    @property
    def drained(self) -> bool:
        """True when nothing more will ever come out."""
        with self._room:
            return self._ended and not self._frames

    def end(self) -> None:
        """No more input; what is here still comes out."""
        self._finish(keep=True)

    def close(self) -> None:
        """No more input, and what is here goes."""
        self._finish(keep=False)

    def __len__(self) -> int:
        return len(self._frames)

    def _ready(self) -> bool:
        return len(self._frames) >= self.chunk or (self._ended and bool(self._frames))

    def _can_take(self) -> bool:
        return self._ended or len(self._frames) < 2 * self.chunk

    def _finish(self, *, keep: bool) -> None:
        with self._room:
            self._ended = True
            if not keep:
                self._frames.clear()
            self._room.notify_all()
        self._on_change()


class Outbox(Generic[Item]):
    """Finished things on their way out. Bounded: when it is full the oldest goes (`dropped`).

    Args:
        capacity: how many wait at most.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"an outbox holds at least one item; got {capacity}")
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._some = threading.Condition(threading.Lock())
        self._closed = False
        self.dropped = 0

    def put(self, item: Item) -> bool:
        """Add an item; never waits. Returns False after `close`."""
        with self._some:
            if self._closed:
                return False
            if len(self._items) == self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._some.notify()
            return True

    def take(self, timeout: float | None = 0.0) -> Item | None:
        """The oldest item; None when there is none within `timeout` seconds (None: wait for ever)
        or when the box is closed and empty."""
        with self._some:
            self._some.wait_for(lambda: self._closed or bool(self._items), timeout)
            return self._items.popleft() if self._items else None

    def clear(self) -> int:
        """Forget all items. Returns how many there were; they count as dropped."""
        with self._some:
            count = len(self._items)
            self._items.clear()
            self.dropped += count
            return count

    def close(self) -> None:
        """No more puts; whoever waits is woken. What is here can still be taken."""
        with self._some:
            self._closed = True
            self._some.notify_all()

    def __len__(self) -> int:
        return len(self._items)
