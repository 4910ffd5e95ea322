"""Drop rules of the boxes, alone and under threads."""

from __future__ import annotations

import threading

import pytest
from fakes import make_frame
from hypothesis import given
from hypothesis import strategies as st
from millrace.streaming.handoff import Mailbox, Outbox


def taken(box: Mailbox) -> list[int] | None:
    chunk = box.take_chunk()
    return None if chunk is None else [frame.index for frame in chunk]


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=60))
def test_newest_win_and_a_chunk_has_no_hole(chunk: int, puts: list[bool]) -> None:
    box = Mailbox(chunk)
    put = came = 0
    last = -1
    for is_put in puts:
        if is_put:
            assert box.put(make_frame(put))
            put += 1
        elif (indices := taken(box)) is not None:
            assert indices == list(range(put - chunk, put)), "the newest, and consecutive"
            assert indices[0] > last
            last = indices[-1]
            came += len(indices)
    assert put == came + box.superseded + len(box)


def test_end_gives_the_rest_and_close_nothing() -> None:
    box = Mailbox(3)
    for index in range(2):
        box.put(make_frame(index))
    assert taken(box) is None and not box.ready()
    box.end()
    assert not box.put(make_frame(9))
    assert not box.drained and taken(box) == [0, 1] and box.drained
    other = Mailbox(1)
    other.put(make_frame(0))
    other.close()
    assert taken(other) is None and other.drained


def test_lossless_refuses_instead_of_dropping() -> None:
    box = Mailbox(2, lossless=True)
    assert [box.put(make_frame(index)) for index in range(5)] == [True] * 4 + [False]
    assert taken(box) == [0, 1] and box.put(make_frame(4))
    assert taken(box) == [2, 3] and box.superseded == 0


def test_lossless_producer_waits_for_the_consumer() -> None:
    wake = threading.Event()
    box = Mailbox(3, lossless=True, on_change=wake.set)

    def produce() -> None:
        for index in range(300):
            assert box.put(make_frame(index), timeout=None)
        box.end()

    producer = threading.Thread(target=produce)
    producer.start()
    came: list[int] = []
    while not box.drained:
        wake.clear()
        indices = taken(box)
        if indices is None and not box.ended:
            wake.wait(10)
        came += indices or []
    producer.join()
    assert came == list(range(300))


def test_closing_releases_a_waiting_producer() -> None:
    box = Mailbox(1, lossless=True)
    for index in range(2):
        box.put(make_frame(index))
    answers: list[bool] = []
    producer = threading.Thread(target=lambda: answers.append(box.put(make_frame(2), None)))
    producer.start()
    box.close()
    producer.join(10)
    assert answers == [False]


def test_newest_wins_under_threads() -> None:
    box = Mailbox(2)
    together = threading.Barrier(3)

    def produce(first: int) -> None:
        together.wait()
        for index in range(first, first + 500):
            box.put(make_frame(index))

    producers = [threading.Thread(target=produce, args=(n * 1000,)) for n in range(2)]
    for producer in producers:
        producer.start()
    together.wait()
    came: list[int] = []
    while any(producer.is_alive() for producer in producers) or box.ready():
        came += taken(box) or []
    assert len(came) == len(set(came))
    assert len(came) + box.superseded + len(box) == 1000
    for n in range(2):
        own = [index for index in came if index // 1000 == n]
        assert own == sorted(own)


def test_outbox_drops_the_oldest_and_counts() -> None:
    box: Outbox[int] = Outbox(2)
    for number in range(5):
        assert box.put(number)
    assert (box.take(), box.take(), box.take()) == (3, 4, None)
    assert box.dropped == 3
    box.put(5)
    assert box.clear() == 1 and box.dropped == 4
    box.put(6)
    box.close()
    assert not box.put(7) and box.take(None) == 6 and box.take(None) is None


def test_outbox_wakes_who_waits() -> None:
    box: Outbox[int] = Outbox(2)
    came: list[int | None] = []
    consumer = threading.Thread(target=lambda: came.extend([box.take(10), box.take(None)]))
    consumer.start()
    box.put(1)
    box.close()
    consumer.join(10)
    assert came == [1, None]


@pytest.mark.parametrize("make", [lambda: Mailbox(0), lambda: Outbox(0)])
def test_a_box_holds_something(make: object) -> None:
    with pytest.raises(ValueError, match="at least one"):
        make()  # type: ignore[operator]
