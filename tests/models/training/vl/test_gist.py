"""What a closing stamp is to tell: labels that follow from the truth, at the stamps that close."""

from __future__ import annotations

import numpy as np
import torch
from millrace.models.training.vl.gist import LABELS, NAMES, PAIRS, Gist, labels
from millrace.models.training.vl.labels import UNKNOWN
from millrace.models.training.vl.lesson import draw_lesson, tensors
from millrace.models.training.vl.recording import Recording
from millrace.models.training.vl.shapes import SHAPES, SOMETHING
from millrace.models.training.vl.story import tell
from millrace.models.training.vl.truth import Seen, State, timeline
from millrace.models.vl import tiny_words as words
from millrace.models.vl.specs import TINY_VL


def _state(*things: Seen, doubtful: bool = False) -> State:
    return State(things, doubtful, frozenset({"red star"}), "still", "plain", "gray", False)


def test_labels_count_name_and_place_what_is_there() -> None:
    found = labels(
        _state(
            Seen("circle", "red", "still", 0, 2),
            Seen("circle", "blue", "still", 1, 1),
            Seen("star", "red", "still", 2, 0),
            Seen(SOMETHING, "", "still", 2, 2),
        )
    )
    assert found.shape == (LABELS,) and found[0] == 4
    number = dict(zip(NAMES, found[1 : 1 + len(NAMES)].tolist(), strict=True))
    assert (number["red"], number["blue"], number["circle"], number["star"]) == (2, 1, 2, 1)
    assert number["green"] == 0 and sum(number.values()) == 6
    pairs = found[1 + len(NAMES) : 1 + len(NAMES) + len(PAIRS)]
    there = {pair for pair, value in zip(PAIRS, pairs, strict=True) if value}
    assert there == {("red", "circle"), ("blue", "circle"), ("red", "star")}
    # Two circles have no one place, and the star lies between two.
    assert (found[-2 * len(SHAPES) :] == UNKNOWN).all()
    alone = labels(_state(Seen("heart", "red", "still", 2, 0)))
    at = LABELS - 2 * len(SHAPES) + 2 * SHAPES.index("heart")
    assert alone[at : at + 2].tolist() == [2, 0]


def test_nothing_is_counted_where_something_is_seen_in_part() -> None:
    found = labels(_state(Seen("heart", "red", "still", 2, 0), doubtful=True))
    assert (found[: LABELS - 2 * len(SHAPES)] == UNKNOWN).all()
    assert (found != UNKNOWN).sum() == 2


def test_closing_stamps_follow_their_pictures() -> None:
    turns = timeline(tell(3, 25.6, (96, 96)))
    features = np.zeros((len(turns), 9, TINY_VL.text.dim), np.float16)
    for seed in range(3):
        lesson = draw_lesson(np.random.default_rng(seed), Recording(turns, features, (3, 3)), 4)
        data = tensors(lesson)
        assert data["shown"].shape == (len(lesson.closing), LABELS)
        seen = lesson.told.turns[-len(lesson.closing) :]
        for place, turn in zip(lesson.closing, seen, strict=True):
            assert words.is_stamp(int(lesson.ids[place]))
            assert lesson.source[place - 1] >= 0 and lesson.source[place] < 0
            assert seen[int(lesson.source[place - 1]) // 9] is turn


def test_heads_learn_what_states_tell() -> None:
    torch.manual_seed(0)
    turns = timeline(tell(5, 30.6, (96, 96)))
    wanted = torch.from_numpy(np.stack([labels(turn.state) for turn in turns]))
    states = torch.randn(len(turns), 64)
    gist = Gist(64)
    optimiser = torch.optim.Adam(gist.parameters(), lr=0.05)
    first = gist(states, wanted)[0].detach()
    for _ in range(60):
        optimiser.zero_grad()
        loss, _ = gist(states, wanted)
        loss.backward()
        optimiser.step()
    loss, right = gist(states, wanted)
    assert float(loss.detach()) < 0.2 * float(first)
    assert set(right) == {"count", "numbers", "pairs", "places"}
    assert all(np.mean(hits) > 0.9 for hits in right.values())
    nothing = torch.full_like(wanted, UNKNOWN)
    assert gist(states, nothing) == (0.0, {})
