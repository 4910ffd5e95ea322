"""Sound by the stamps of its source, and cuts that cannot be heard. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE = 48_000
"""RTP clock of Opus, whatever it holds (RFC 7587 section 4.1); samples a second everywhere here."""
BLOCK = 960
"""Samples that leave at once: 20 ms."""
FADE = 120
"""Samples over which sound comes and goes at a hole: 2.5 ms; shorter would click."""
OVERLAP = 160
"""Samples over which two places are blended at a cut."""
MOST_CUT = (BLOCK - OVERLAP) // 2
"""Most samples that one cut leaves out of a block, or says twice: 8.3 ms."""
LEAST_PERIOD = 96
"""Shortest repetition that a cut looks for: 500 Hz; voices are lower."""

Samples = npt.NDArray[np.int16]
"""[n, 2]: stereo."""


class Line:
    """The newest sound of a source, a bounded stretch of it.

    When more comes than it holds, the oldest goes (`dropped`). What never came is silence (`lost`).

    Args:
        most: samples that it holds.
    """

    def __init__(self, most: int = 3 * RATE) -> None:
        self._ring: Samples = np.zeros((most, 2), np.int16)
        self._most = most
        self.start = 0
        self.end = 0
        """It holds the samples with the stamps from `start` up to before `end`."""
        self.dropped = 0
        self.lost = 0

    def put(self, pts: int, samples: Samples) -> None:
        """Add sound.

        Args:
            pts: stamp of the first sample. What is there already stays; a stamp far from the others
                begins a new stretch.
        """
        fresh = self.start == self.end
        if fresh or not self.start - self._most <= pts <= self.end + self._most:
            self.start = self.end = pts
        gap = pts - self.end
        if gap < 0:
            samples = samples[-gap:]
        elif gap > 0:
            self._leave_out(gap)
            samples = faded(samples, rise=True)
        if len(samples):
            self._write(samples[-self._most :])
        over = self.end - self.start - self._most
        if over > 0:
            self.start += over
            self.dropped += over

    def take(self, at: int, count: int) -> Samples:
        """A copy of `count` samples from stamp `at`; silence where there is nothing."""
        first, last = max(at, self.start), min(at + count, self.end)
        if first == at and last == at + count:
            return self._read(first, last)
        found = np.zeros((count, 2), np.int16)
        if first < last:
            part = self._read(first, last)
            part = faded(part, rise=True) if first > at else part
            part = faded(part, rise=False) if last < at + count else part
            found[first - at : last - at] = part
        return found

    def forget(self, before: int) -> None:
        """Let go of what lies before a stamp; it is needed no more."""
        self.start = max(self.start, min(before, self.end))

    def _leave_out(self, gap: int) -> None:
        """Silence for what did not come."""
        self.lost += gap
        tail = max(self.start, self.end - FADE)
        places = np.arange(tail, self.end) % self._most
        self._ring[places] = faded(self._ring[places], rise=False)
        self._ring[np.arange(self.end, self.end + gap) % self._most] = 0
        self.end += gap

    def _write(self, samples: Samples) -> None:
        at = self.end % self._most
        first = min(len(samples), self._most - at)
        self._ring[at : at + first] = samples[:first]
        self._ring[: len(samples) - first] = samples[first:]
        self.end += len(samples)

    def _read(self, first: int, last: int) -> Samples:
        at, count = first % self._most, last - first
        straight = min(count, self._most - at)
        return np.concatenate([self._ring[at : at + straight], self._ring[: count - straight]])


def faded(samples: Samples, rise: bool) -> Samples:
    """Sound that begins softly, or ends so."""
    count = min(FADE, len(samples))
    result = samples.copy()
    if count:
        ramp = np.arange(1, count + 1)[:, None] / (count + 1)
        part = slice(count) if rise else slice(-count, None)
        result[part] = result[part] * (ramp if rise else ramp[::-1])
    return result


def blended(one: Samples, other: Samples) -> Samples:
    """From the one to the other over their length."""
    ramp = (np.arange(len(one)) + 0.5)[:, None] / len(one)
    return np.rint(one * (1 - ramp) + other * ramp).astype(np.int16)


def loudness(samples: Samples) -> float:
    """Root mean square, in units of a sample."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def spliced(samples: Samples, length: int) -> Samples:
    """The same sound in another length, made by one cut in its middle.

    Args:
        samples: [n, 2]; n differs from `length` by at most `MOST_CUT`.
    """
    extra = len(samples) - length
    at = (length - OVERLAP) // 2
    to = at + extra
    assert 0 <= to and at + OVERLAP <= len(samples)
    middle = blended(samples[at : at + OVERLAP], samples[to : to + OVERLAP])
    return np.concatenate([samples[:at], middle, samples[to + OVERLAP :]])


def best_cut(samples: Samples, shorten: bool) -> int:
    """After how many samples a block repeats itself best, so that a cut of that length is least
    heard (normalised cross-correlation, as in WSOLA: Verhelst and Roelands 1993, section 3).

    Args:
        samples: [BLOCK, 2].
        shorten: whether the cut leaves out or says twice.
    """
    mono = samples.sum(1, dtype=np.float64)
    at = (BLOCK - OVERLAP) // 2
    here = mono[at : at + OVERLAP]
    low, high = (
        (at + LEAST_PERIOD, at + MOST_CUT) if shorten else (at - MOST_CUT, at - LEAST_PERIOD)
    )
    there = mono[low : high + OVERLAP]
    products = np.correlate(there, here, "valid")
    squares = np.concatenate([[0.0], np.cumsum(there * there)])
    energies = squares[OVERLAP:] - squares[:-OVERLAP]
    best = low + int(np.argmax(products / np.sqrt(energies + 1.0)))
    return abs(best - at)
