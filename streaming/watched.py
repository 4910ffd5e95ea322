"""The life of a host whose work is done by a watched worker: start, readiness, deaths, end."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .watcher import Restarts, Watcher

Info = TypeVar("Info")
"""What a worker says of itself when it is ready."""


@dataclass(frozen=True, slots=True)
class Named:
    """How a host is spoken of.

    Attributes:
        it: what is not ready yet, "the captions".
        worker: what ended too often, "the captions' worker".
        off: why there is nothing any more after `stop`.
    """

    it: str
    worker: str
    off: str


class WatchedHost(Generic[Info]):
    """What all hosts of a watched worker have in common; implements most of `watcher.Handler`.

    A subclass makes its `Watcher` with itself as the handler, and tells of its worker's coming and
    going by `_came` and `_went`.

    Args:
        named: for messages.
        changed: guards what is here, told of every change; never held while the watcher ends.
    """

    _watcher: Watcher

    def __init__(self, named: Named, changed: threading.Condition | None = None) -> None:
        self._named = named
        self._changed = changed or threading.Condition(threading.Lock())
        self._began = self._stopped = self._live = False
        self._info: Info | None = None
        self._failure = ""
        self._deaths = 0

    def start(self) -> None:
        """Begin to start the worker; returns at once. Idempotent."""
        with self._changed:
            first = not self._began and not self._stopped
            self._began = True
        if first:
            self._begin()
            self._watcher.start()
            # Ends the worker before multiprocessing does, which would look like a crash.
            atexit.register(self.stop)

    def ready(self, timeout: float | None = None) -> Info:
        """Wait until the worker is there.

        Raises:
            TimeoutError, RuntimeError: not in time; it could not start, with the reason.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._info or self._failure, timeout):
                verb = "were" if self._named.it.endswith("s") else "was"
                raise TimeoutError(f"{self._named.it} {verb} not ready within {timeout} s")
            if self._failure or self._info is None:
                raise RuntimeError(self._failure)
            return self._info

    def stop(self) -> None:
        """End the worker; returns when it is gone. Idempotent."""
        with self._changed:
            if self._stopped:
                return
            self._stopped = True
            self._failure = self._failure or self._named.off
            self._changed.notify_all()
        if self._began:
            self._watcher.stop()
            self._end()
            atexit.unregister(self.stop)

    @property
    def state(self) -> str:
        """ "starting", "live", "restarting", "failed" (for good) or "stopped"."""
        if self._failure:
            return "stopped" if self._stopped else "failed"
        if self._info is None:
            return "starting"
        return "live" if self._live else "restarting"

    @property
    def failure(self) -> str:
        """Why it will never be live again, or nothing."""
        return self._failure

    @property
    def restarts(self) -> Restarts:
        """How often a worker may die before this host gives up."""
        return self._watcher.restarts

    def accuse(self, how: str, at_work: Sequence[str]) -> bool:
        """Nobody is blamed, unless a host knows better."""
        return False

    # ---- for subclasses ------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start threads of one's own."""

    def _end(self) -> None:
        """End them; the worker is gone."""

    def _came(self, info: Info) -> None:
        """A worker is ready. `_changed` is held."""
        self._info, self._live = info, True
        self._changed.notify_all()

    def _went(self, how: str, final: bool) -> None:
        """The worker is gone. `_changed` is held."""
        self._live = False
        self._deaths += 1
        if final:
            self._failure = self._failure or self._last_words(how)
        self._changed.notify_all()

    def _last_words(self, how: str) -> str:
        """Why there will be no other worker."""
        if self._info is None:
            return f"{self._named.it} could not start: {how}"
        return (
            f"{self._named.worker} ended {self.restarts.limit} times within "
            f"{self.restarts.window_s:g} s, last because {how}; giving up"
        )
