"""When which sound leaves, so that it goes with its picture. Pure; time is an argument.

Sound leaves in blocks whose stamps follow each other without a gap. A stamp is the time at which
the picture of the same moment leaves; the block itself goes a little before, because browsers hold
sound back longer than pictures, or later when its sound came later than its picture. What changes
is which samples fill a block: when the pictures' delay changes, or two clocks drift apart, the
place that is read from slides there by short cuts, in silence at once and under speech slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

from .audio_line import BLOCK, MOST_CUT, RATE, Line, Samples, best_cut, blended, loudness, spliced

LEAD_S, MOST_LEAD_S, LEAD_GROWS = 0.06, 0.25, 0.01
"""How long before its stamp a block leaves when it can, seconds: at first what a browser's buffer
holds, then more by so much a second. A browser holds sound that comes early until its time, but
where its buffer holds more than it got early, it holds the picture back too; and it follows slowly,
so that all of it at once would be heard before its picture."""
PATIENCE_S, MOST_PATIENCE_S = 0.2, 0.5
"""How long after that a block waits for its sound: at first, and at most, for sound that always
comes late."""
QUIET = 200.0
"""Below this loudness (-44 dB of full scale) a cut is not heard."""
NEAR_QUIET, NEAR_LOUD = 96, 480
"""Samples (2 and 10 ms) off its place that sound may be; a lip-reader notices 45 ms."""
REST = 10
"""Blocks between two cuts under sound: at most 4 % faster or slower."""
JUMP = RATE * 3 // 10
"""Off its place by more than this, sound goes there at once: the source was held or began anew."""
IDLE = 25
"""Empty blocks after which nothing more is sent until sound comes again."""


@dataclass(frozen=True, slots=True)
class Block:
    """20 ms of sound that leave now.

    Attributes:
        pts: stamp, in samples since the origin.
        samples: int16 [BLOCK, 2].
    """

    pts: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until `until` (monotonic seconds), or until something comes."""

    until: float | None = None


@dataclass(slots=True)
class Tally:
    """What was done to the sound; samples but for the first two."""

    blocks: int = 0
    jumps: int = 0
    cut_out: int = 0
    put_in: int = 0
    silent: int = 0
    """Left as silence because nothing was there in time."""
    late: int = 0
    """Came after they should have left."""


class Playout:
    """Decides what the next block holds and when it goes.

    Args:
        origin: monotonic seconds of stamp 0.
        ahead: samples by which the encoder delays what it is given.
    """

    def __init__(self, origin: float, ahead: int = 0) -> None:
        self.line = Line()
        self.tally = Tally()
        self._origin = origin
        self._ahead = ahead
        self._shift: float | None = None
        self._at: int | None = None
        """Stamp of the source's sample that the next block begins with; None while idle."""
        self._pts = 0
        self._rest = 0
        self._empty = 0
        self._begun = 0.0
        self._known = 0
        """End of the line when it went idle: sound beyond it wakes it up."""
        self._patience = PATIENCE_S

    def aim(self, shift: float) -> None:
        """Say where sound belongs.

        Args:
            shift: monotonic seconds at which the picture of the source's sample 0 left.
        """
        self._shift = shift

    def put(self, pts: int, samples: Samples, now: float) -> None:
        """Sound came; `pts` is the stamp of its first sample."""
        if self._at is not None and self._shift is not None and pts < self._at:
            self.tally.late += min(self._at - pts, len(samples))
            lateness = now - (self._shift + pts / RATE) + LEAD_S
            if lateness < MOST_PATIENCE_S:
                self._patience = max(self._patience, 1.1 * lateness)
        self.line.put(pts, samples)

    @property
    def error(self) -> int | None:
        """Samples by which the next block is before (above 0) or behind its place."""
        if self._at is None or self._shift is None:
            return None
        return self._wanted(self._shift) - self._at

    def decide(self, now: float) -> Block | Wait:
        """What to do at `now`; call again after a block, at `until`, and when sound came."""
        if self._shift is None:
            return Wait()
        if self._at is None:
            if self.line.end == self._known:
                return Wait()
            self._begin(now, self._shift)
            assert self._at is not None
        lead = min(MOST_LEAD_S, LEAD_S + LEAD_GROWS * (now - self._begun))
        stamp = self._origin + self._pts / RATE
        if now < stamp - lead:
            return Wait(stamp - lead)
        if self.line.end < self._at + BLOCK and now < stamp - LEAD_S + self._patience:
            return Wait(stamp - LEAD_S + self._patience)
        cut = self._cut()
        return self._block(cut if self.line.end >= self._at + BLOCK + cut else min(cut, 0))

    def _begin(self, now: float, shift: float) -> None:
        self._pts = max(self._pts, round((now + LEAD_S - self._origin) * RATE))
        self._at = self._wanted(shift)
        self._rest = self._empty = 0
        self._begun = now

    def _wanted(self, shift: float) -> int:
        """Stamp of the sample that belongs at the begin of the next block."""
        return round((self._origin - shift) * RATE) + self._pts + self._ahead

    def _cut(self) -> int:
        """Samples to leave out of the next block (or, below 0, to say twice)."""
        assert self._at is not None
        error = self.error or 0
        self._rest = max(0, self._rest - 1)
        if abs(error) <= NEAR_QUIET or abs(error) > JUMP:
            return 0
        sound = self.line.take(self._at, BLOCK)
        if loudness(sound) < QUIET:
            return max(-MOST_CUT, min(error, MOST_CUT))
        if abs(error) <= NEAR_LOUD or self._rest:
            return 0
        self._rest = REST
        length = best_cut(sound, shorten=error > 0)
        return length if error > 0 else -length

    def _block(self, cut: int) -> Block:
        assert self._at is not None
        error = self.error or 0
        samples = self.line.take(self._at, BLOCK + cut)
        if abs(error) > JUMP:
            self.tally.jumps += 1
            before, self._at = samples, self._at + error
            samples = self.line.take(self._at, BLOCK)
            samples[:MOST_CUT] = blended(before[:MOST_CUT], samples[:MOST_CUT])
        elif cut:
            samples = spliced(samples, BLOCK)
            self.tally.cut_out += max(cut, 0)
            self.tally.put_in += max(-cut, 0)
        missing = self._at + BLOCK + cut - self.line.end
        self.tally.silent += max(0, min(missing, BLOCK))
        self._empty = self._empty + 1 if missing >= BLOCK + cut else 0
        block = Block(self._pts, samples)
        self.tally.blocks += 1
        self._at += BLOCK + cut
        self._pts += BLOCK
        self.line.forget(self._at)
        if self._empty >= IDLE:
            self._at, self._known = None, self.line.end
        return block
