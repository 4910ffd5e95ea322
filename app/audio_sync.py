"""From the stamps of pictures and of sound to when sound has to leave. Pure."""

from __future__ import annotations

from collections import deque
from statistics import median

PICTURES = 90
"""Pictures over which their delay is smoothed (median): 3 s at 30 a second."""
PIECES = 100
"""Pieces of sound over which the way from their stamps to their arrival is: 2 s."""
REPORTS_S = 3.0
"""Of the source's reports of so many seconds the earliest counts: some say when they were sent, not
when what they speak of was captured, so they err to the late side only. Not longer, because the
sound's stamps slip where a busy source lets samples go."""
SAME_S = 1e-4
"""Reports that differ by less say the same."""
DRAG_S = 0.15
"""Sound that comes later than its picture may make a browser hold the picture back by so much; what
is more than that the sound lags, as the picture's latency comes first."""
BELIEVED_S = 1.0
"""A source whose own clocks put sound and picture further apart than that, against what arrives, is
taken to have no common clock."""


class Zero:
    """When stamp 0 of a track was captured, on the source's clock, as its reports say."""

    def __init__(self) -> None:
        self._said: deque[tuple[float, float]] = deque(maxlen=16)

    def say(self, seconds: float | None, now: float) -> None:
        """What the last report says; None before the first."""
        if seconds is not None and (not self._said or abs(self._said[-1][1] - seconds) > SAME_S):
            self._said.append((now, seconds))
            while self._said[0][0] < now - REPORTS_S:
                self._said.popleft()

    @property
    def seconds(self) -> float | None:
        return min((seconds for _, seconds in self._said), default=None)


class Sync:
    """Relates the sound's stamps to the times at which pictures arrive and leave.

    Where the source sends reports (RTCP), its clock tells which sound and picture belong together.
    Before, and where it sends none, what arrives together is taken for what belongs together.
    All times are seconds; those here are monotonic.
    """

    def __init__(self) -> None:
        self._delays: deque[float] = deque(maxlen=PICTURES)
        self._leaving: deque[float] = deque(maxlen=PICTURES)
        """Of pictures: leaving minus stamp."""
        self._arriving: deque[float] = deque(maxlen=PIECES)
        """Of sound: arrival minus stamp."""
        self.of_pictures, self.of_sound = Zero(), Zero()

    def picture(self, stamp: float, arrived: float, left: float) -> None:
        """A picture left."""
        self._delays.append(left - arrived)
        self._leaving.append(left - stamp)

    def sound(self, stamp: float, arrived: float) -> None:
        """Sound came that ends at `stamp`."""
        self._arriving.append(arrived - stamp)

    @property
    def delay(self) -> float | None:
        """From a picture's arrival until it leaves, smoothed."""
        return median(self._delays) if self._delays else None

    def shift(self) -> float | None:
        """When the sound's stamp 0 is to leave: when its picture did, but for `DRAG_S`. None before
        the first picture and sound."""
        together = self._together()
        return None if together is None else max(together, median(self._arriving) - DRAG_S)

    def _together(self) -> float | None:
        """When the picture of the sound's stamp 0 left."""
        if not self._arriving or not self._delays:
            return None
        by_arrival = median(self._arriving) + median(self._delays)
        sound, pictures = self.of_sound.seconds, self.of_pictures.seconds
        if sound is None or pictures is None:
            return by_arrival
        by_clock = sound - pictures + median(self._leaving)
        return by_clock if abs(by_clock - by_arrival) < BELIEVED_S else by_arrival

    def arrival(self) -> float | None:
        """When the picture of the sound's stamp 0 arrived: what is heard is told on the pictures'
        time line."""
        together, delay = self._together(), self.delay
        return None if together is None or delay is None else together - delay
