"""The shipped language model: it loads, is small, and tells what is plainly there."""

from __future__ import annotations

import pytest
import torch
from millrace import assets
from millrace.models.training.vl.evaluate import Examiner, Run
from millrace.models.training.vl.player import Player, load_show
from millrace.models.training.vl.story import Taste, tell
from millrace.models.vl import tiny_words as words
from millrace.models.vl.model import VLModel
from millrace.models.vl.specs import TINY_VL
from millrace.models.vl.tiny_vl import ALERTS, EXAMPLES, WEIGHTS, load_tiny_vl, random_tiny_vl


@pytest.fixture(scope="module")
def model() -> VLModel:
    torch.set_num_threads(1)
    return load_tiny_vl()


def test_the_file_is_small_and_listed() -> None:
    assert assets.path(WEIGHTS).stat().st_size < 25_000_000
    assert assets.manifest()[WEIGHTS].licence == "Apache-2.0"


def test_it_loads_in_the_type_that_is_asked_for() -> None:
    assert load_tiny_vl(dtype="float16").text.weight.dtype == torch.float16


def test_random_weights_are_of_the_same_shape(model: VLModel) -> None:
    state = random_tiny_vl().state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


def test_examples_are_in_words_that_it_knows() -> None:
    for text in (*EXAMPLES, *ALERTS):
        known = words.encode_folded(
            text.replace("12 seconds ago", "").replace("10 seconds ago", "")
        )
        assert words.UNKNOWN not in known, text


def test_it_tells_colours_and_motion_of_plain_streams(model: VLModel) -> None:
    streams = [tell(810_000_000 + i, 12.6, (128, 128), Taste(easy=True)) for i in range(4)]
    shows = [load_show(model, stream) for stream in streams]
    examiner = Examiner(model, "default", shows, Run(12, 4, 1, 1))
    examiner.play(progress=False)
    found = examiner.sheet
    color, motion = found.now["color"], found.now["motion"]
    assert color.right >= 0.85 * color.all
    assert motion.right >= 0.85 * motion.all


def test_a_foreign_question_gets_its_limits(model: VLModel) -> None:
    show = load_show(model, tell(5, 3.6, (96, 96), Taste(easy=True)))
    player = Player(model, "default", [show])
    player.turn(0)
    seat = player.seats[0]
    said = player.ask([(seat, "who is the president of france", 0.9, None)])
    assert said == [words.SPOKEN["<limits>"]]
    assert seat.reading.length > 0
    assert TINY_VL.text.vocab >= len(words.TOKENS)
