"""Rendered streams: what is drawn is what the truth says, and the same seed tells the same."""

from __future__ import annotations

import numpy as np
import pytest
from millrace.models.training.vl.backgrounds import COLOURS, dominant
from millrace.models.training.vl.labels import KINDS, UNKNOWN, look, moments
from millrace.models.training.vl.shapes import SHAPES, SOMETHING, draw
from millrace.models.training.vl.sight import BETWEEN, pictures, recent, watch
from millrace.models.training.vl.story import SIZES, Taste, tell
from millrace.models.training.vl.telling import caption
from millrace.models.training.vl.truth import timeline, turn_of
from millrace.models.training.vl.world import Event, Stream, picture

SEEDS = range(24)


def _clean(seed: int, seconds: float = 20.0) -> Stream:
    return tell(seed, seconds, (128, 128), Taste(easy=True))


def test_the_same_seed_tells_and_draws_the_same() -> None:
    one, other = tell(5, 12.0), tell(5, 12.0)
    assert one.events == other.events
    assert np.array_equal(picture(one, 3.25), picture(other, 3.25))
    assert tell(6, 12.0).events != one.events


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_of_the_size_and_range_that_was_asked(size: tuple[int, int]) -> None:
    drawn = picture(tell(3, 5.0, size), 2.0)
    assert drawn.shape == (*size, 3)
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() <= drawn.max() <= 1


@pytest.mark.parametrize("shape", (*SHAPES, SOMETHING))
def test_a_shape_covers_its_middle_and_stays_within_its_radius(shape: str) -> None:
    board = np.zeros((64, 64, 3), np.float32)
    draw(board, shape, (32, 32), 20, 0.2, np.ones(3, np.float32))
    assert board[32, 32, 0] == 1
    y, x = np.nonzero(board[..., 0] > 0.5)
    assert np.hypot(x + 0.5 - 32, y + 0.5 - 32).max() < 20 * 1.3


def test_shapes_differ() -> None:
    boards = []
    for shape in SHAPES:
        board = np.zeros((64, 64, 3), np.float32)
        draw(board, shape, (32, 32), 24, 0.0, np.ones(3, np.float32))
        boards.append(board[..., 0])
    for index, one in enumerate(boards):
        for other in boards[index + 1 :]:
            assert np.abs(one - other).mean() > 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thing_has_its_colour_where_the_truth_has_its_centre(seed: int) -> None:
    stream = _clean(seed)
    for time in (0.5, 7.5, 15.5):
        drawn, scene = picture(stream, time), stream.scene(time)
        for thing in scene.things:
            if not stream.visible(thing, time, 0.3) or thing.shape == SOMETHING:
                continue
            x, y, _ = stream.place(thing, time)
            pixel = drawn[int(y * 128), int(x * 128)] / stream.light.at(time)
            apart = np.abs(pixel - np.array(COLOURS[thing.colour(time)])).max()
            assert apart < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_no_event_comes_before_its_turn_has_seen_it(seed: int) -> None:
    stream = tell(seed, 20.0)
    for event in stream.events:
        assert turn_of(event) + BETWEEN >= event.time
        assert turn_of(event) <= event.time + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_what_appears_was_not_there_and_is_there_now(seed: int) -> None:
    turns = timeline(tell(seed, 30.0))
    for number, turn in enumerate(turns):
        for event in turn.events:
            name = SOMETHING if event.shape == SOMETHING else f"{event.colour} {event.shape}"
            after = {thing.name for thing in turn.state.things}
            if event.kind == "appear":
                assert name in after
                assert name not in {t.name for t in turns[number - 1].state.things}
            if event.kind == "vanish":
                assert name not in after
            if event.kind == "recolour":
                assert f"{event.way} {event.shape}" in after


def test_quiet_turns_are_silent() -> None:
    turns = timeline(tell(1, 30.0))
    for number, turn in enumerate(turns):
        assert bool(caption(turn, number == 0)) == bool(turn.events or turn.fresh)


def test_labels_of_a_look_name_the_things_and_doubt_what_is_cut() -> None:
    for seed in SEEDS:
        stream = _clean(seed)
        for time in moments(np.random.default_rng(seed), stream, 3):
            found = look(stream, time, 32)
            kinds = {KINDS[k] for k in np.unique(found.cells["kind"]) if k != UNKNOWN}
            scene = stream.scene(time + BETWEEN)
            known = {t.shape for t in scene.things} | {"none"}
            assert kinds <= known
            assert found.pictures.shape == (4, 128, 128, 3)
            clear = [t for t in scene.things if stream.visible(t, time + BETWEEN, 0.25)]
            if found.whole["count"] != UNKNOWN:
                assert found.whole["count"] == len(clear)
                marked = found.cells["centre"]
                assert marked[marked > 0].sum() <= len(clear) <= 4


def test_looks_overlap_by_half() -> None:
    stream = tell(2, 6.6, (96, 96))
    seen = watch(stream, 0, 4)
    for number in range(4):
        assert np.array_equal(seen[number], pictures(stream, float(number)))
    assert np.array_equal(seen[0, 0], seen[0, 2])
    assert np.array_equal(seen[1, 2:], seen[2, :2])


def test_an_event_is_seen_in_the_look_that_tells_of_it() -> None:
    for seed in SEEDS:
        stream = tell(seed, 20.0)
        for event in stream.events:
            seen = [n for n in range(22) if recent(event, float(n))]
            assert seen in ([turn_of(event)], [])


def test_colours_have_names() -> None:
    for name, colour in COLOURS.items():
        assert dominant(np.tile(np.array(colour, np.float32), (8, 8, 1))) == name
    noise = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    assert dominant(noise) == "mixed"


def test_an_event_of_a_thing_that_is_cut_away_is_not_told() -> None:
    for seed in range(200):
        stream = tell(seed, 30.0)
        cuts = [e.time for e in stream.events if e.kind == "scene"]
        for event in stream.events:
            if event.kind == "stop":
                begun = [
                    e.time
                    for e in stream.events
                    if e.kind == "move" and e.shape == event.shape and e.time < event.time
                ]
                assert begun
                assert not any(begun[-1] < cut < event.time for cut in cuts)


def test_events_are_data() -> None:
    assert Event("stop", 1.0, "star", "red") == Event("stop", 1.0, "star", "red")
