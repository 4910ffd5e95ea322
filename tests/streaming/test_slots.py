"""Frames through shared memory."""

from __future__ import annotations

import gc
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest
from fakes import make_frame
from millrace.streaming import slots
from millrace.streaming.slots import FrameBlock, SlotSender


def test_a_frame_crosses_unchanged_and_nothing_is_left() -> None:
    ours = FrameBlock(16, 16, 3)
    theirs = FrameBlock(16, 16, 3, ours.name)
    frames = [make_frame(i, seed=1).planes for i in range(3)]
    for slot, planes in enumerate(frames):
        assert ours.write(slot, planes)
    for slot, planes in enumerate(frames):
        assert np.array_equal(theirs.read(slot), planes)  # type: ignore[arg-type]
    theirs.close()
    theirs.close()
    ours.close()
    ours.remove()
    assert theirs.read(0) is None and not ours.write(0, frames[0])
    with pytest.raises(FileNotFoundError):
        SharedMemory(ours.name)


def test_no_room_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def full(name: str, size: int) -> None:
        made.append(name)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(slots, "_reserve", full)
    with pytest.raises(OSError, match="No space"):
        FrameBlock(16, 16, 2)
    gc.collect()
    with pytest.raises(FileNotFoundError):
        SharedMemory(made[0])


class Ends:
    """A sender, its block and what it announced."""

    def __init__(self, slots: int, aside: int) -> None:
        self.block = FrameBlock(16, 16, slots)
        self.announced: list[tuple[int, int]] = []
        self.alive = True
        self.sender: SlotSender[int] = SlotSender(self.block, range(slots), self._announce, aside)

    def _announce(self, slot: int, meta: int) -> bool:
        if self.alive:
            self.announced.append((slot, meta))
        return self.alive

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.sender.put(make_frame(number, level=number).planes, number)

    def luma(self, slot: int) -> int:
        planes = self.block.read(slot)
        assert planes is not None
        return int(planes[0, 0])


@pytest.fixture
def ends() -> object:
    made = Ends(slots=2, aside=2)
    yield made
    made.block.close()
    made.block.remove()


def test_newest_win_while_all_slots_are_away(ends: Ends) -> None:
    ends.put(*range(1, 8))
    assert [meta for _, meta in ends.announced] == [1, 2]
    assert ends.sender.dropped == 3, "3, 4 and 5 gave way to 6 and 7"
    for slot, meta in list(ends.announced):
        assert ends.luma(slot) == meta
        ends.sender.release(slot)
    assert [meta for _, meta in ends.announced] == [1, 2, 6, 7]
    assert all(ends.luma(slot) == meta for slot, meta in ends.announced[2:])


def test_a_slot_given_back_twice_is_still_one_slot(ends: Ends) -> None:
    ends.put(1, 2)
    slot = ends.announced[0][0]
    ends.sender.release(slot)
    ends.sender.release(slot)
    ends.put(3, 4, 5)
    assert [meta for _, meta in ends.announced] == [1, 2, 3]


def test_without_another_side_frames_are_dropped_and_slots_kept(ends: Ends) -> None:
    ends.put(1)
    ends.alive = False
    ends.put(2, 3, 4)
    assert ends.sender.dropped == 3
    ends.alive = True
    ends.sender.reset()
    ends.put(5, 6)
    assert [meta for _, meta in ends.announced] == [1, 5, 6]
