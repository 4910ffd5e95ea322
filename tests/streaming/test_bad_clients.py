"""What one viewer does or leaves undone costs the others nothing, at the engine."""

from __future__ import annotations

from fakes import FakePipeline, Rig, make_frame


def test_who_stalls_in_mid_chunk_holds_nobody_up() -> None:
    rig = Rig(FakePipeline(chunk=4))
    (stalled, nothing), (good, seen) = rig.open(), rig.open()
    for index in range(2):
        stalled.mailbox.put(make_frame(index))
    for index in range(24):
        good.mailbox.put(make_frame(index))
        rig.pass_time(1 / 30)
    assert seen.indices == list(range(24)) and nothing.indices == []
    for index in range(2, 4):
        stalled.mailbox.put(make_frame(index))
        rig.pass_time(1 / 30)
    assert nothing.indices == [0, 1, 2, 3], "it goes on where it stopped"
    assert stalled.closing is None


def test_who_sends_a_flood_gets_the_newest_and_the_others_everything() -> None:
    rig = Rig(FakePipeline())
    (flood, most), (good, seen) = rig.open(), rig.open()
    for index in range(20):
        for number in range(50):
            flood.mailbox.put(make_frame(50 * index + number))
        good.mailbox.put(make_frame(index))
        rig.pass_time(1 / 30)
    assert seen.indices == list(range(20))
    assert most.indices == [50 * index + 49 for index in range(20)]
    assert flood.mailbox.superseded == 20 * 49 and good.mailbox.superseded == 0
