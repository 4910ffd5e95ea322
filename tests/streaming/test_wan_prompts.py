"""Prompts of the causal Wan models pass over into one another; the past of the stream stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.models.wan import WanModel
from millrace.streaming.controls import Controls
from millrace.streaming.pipeline import StreamConfig, Work
from millrace.streaming.prompts import Prompt
from millrace.streaming.wan_text import BLOCKS, LEAST, RandomReader, WanPrompts, WanWish, towards

from .wan_models import DIT, SIDE, apart, clip, model, pipeline, run, wishes

SIZE = StreamConfig(SIDE, SIDE)
BEFORE, AFTER = "a red fox", "a blue bird"


@pytest.fixture(scope="module")
def small() -> WanModel:
    return model()


def context(wish: WanWish) -> torch.Tensor:
    assert wish.prompt is not None
    return wish.prompt.context


def test_a_new_prompt_takes_over_evenly_and_then_wholly() -> None:
    embed = RandomReader(DIT)
    old, new = embed(BEFORE), embed(AFTER)
    wish = WanPrompts(embed).wish()
    assert not wish.heed(wishes(prompt=BEFORE, transition=4))
    assert torch.equal(context(wish), old), "the first prompt holds at once"
    shares = []
    for chunk in range(1, 6):
        assert not wish.heed(wishes(prompt=AFTER, transition=4))
        share = min(1, chunk / 4)
        torch.testing.assert_close(context(wish), (1 - share) * old + share * new)
        shares.append(wish.notes.get("prompt_share"))
    assert torch.equal(context(wish), new), "exactly the new one"
    assert shares == [0.25, 0.5, 0.75, None, None]


def test_a_change_of_mind_on_the_way_goes_on_from_the_mixture() -> None:
    embed = RandomReader(DIT)
    wish = WanPrompts(embed).wish()
    wish.heed(wishes(prompt=BEFORE, transition=2))
    wish.heed(wishes(prompt=AFTER, transition=2))
    wish.heed(wishes(prompt="a cat", transition=2))
    mixed = 0.25 * embed(BEFORE) + 0.25 * embed(AFTER) + 0.5 * embed("a cat")
    torch.testing.assert_close(context(wish), mixed)
    wish.heed(wishes(prompt="a cat", transition=2))
    assert torch.equal(context(wish), embed("a cat"))


@pytest.mark.parametrize("transition", [0, 1])
def test_without_a_transition_it_holds_at_once(transition: int) -> None:
    wish = WanPrompts(RandomReader(DIT)).wish()
    wish.heed(wishes(prompt=BEFORE, transition=transition))
    wish.heed(wishes(prompt=AFTER, transition=transition))
    assert torch.equal(context(wish), RandomReader(DIT)(AFTER)) and wish.notes == {}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 1)), max_size=20))
def test_mixtures_stay_mixtures_and_small(steps: list[tuple[str, float]]) -> None:
    mixture: dict[str, float] = {}
    for text, share in steps:
        mixture = towards(mixture, text, share)
        assert sum(mixture.values()) == pytest.approx(1)
        assert min(mixture.values()) >= LEAST / 2


def test_what_is_remembered_of_a_transition_goes_on_as_it_would_have() -> None:
    prompts = WanPrompts(RandomReader(DIT))
    staying, moved = prompts.wish(), prompts.wish()
    asked = [wishes(prompt=BEFORE), *[wishes(prompt=AFTER, transition=5)] * 3]
    for one in asked:
        staying.heed(one)
    moved.recall(staying.facts())
    assert moved.prompt is staying.prompt and moved.notes == staying.notes
    for _ in range(3):
        assert moved.heed(asked[-1]) == staying.heed(asked[-1])
        assert moved.prompt is staying.prompt
    begun = prompts.wish()
    begun.recall(prompts.wish().facts())
    assert begun.prompt is None


def test_a_prompt_change_wipes_nothing_and_is_heard_at_its_chunk(small: WanModel) -> None:
    """The keys and values of the past are as they were; only cross-attention reads another text."""
    rings = []
    results = []
    for changes in (
        {0: wishes(prompt=BEFORE)},
        {0: wishes(prompt=BEFORE), 4: wishes(prompt=AFTER, transition=2)},
    ):
        host = pipeline(small)
        stream = host.open(SIZE)
        results.append(run(host, stream, clip(1, 5), changes))
        rings.append(stream.bank.lanes.state.ring)
    before, after = rings
    newest = before._newest_slot()
    assert torch.equal(before.frames, after.frames)
    for row in range(2):
        old = [slot for slot in range(before.slots) if slot != int(newest[row])]
        assert torch.equal(before.k[:, row, old], after.k[:, row, old])
    for index in range(4):
        assert torch.equal(results[0][index].frames, results[1][index].frames)
    assert not torch.equal(results[0][4].frames, results[1][4].frames)


def test_a_new_scene_lets_go_of_the_first_frames_when_asked(small: WanModel) -> None:
    shifts = []
    for new_scene in (False, True):
        host = pipeline(small)
        stream = host.open(SIZE)
        change = wishes(prompt=AFTER, new_scene=new_scene, transition=3)
        run(host, stream, clip(1, 8), {0: wishes(prompt=BEFORE, new_scene=new_scene), 5: change})
        shifts.append(stream.bank.lanes.state.ring.sink_shift[0].tolist())
    assert shifts[0] == [0, 0]
    # The chunk that the change came with is latent frame 6 (after the lead), and the only sink.
    assert shifts[1] == [6, -2]


def test_streams_in_transition_beside_others_keep_their_own_prompts(small: WanModel) -> None:
    asked: list[dict[int, Controls]] = [
        {0: wishes(prompt=BEFORE), 2: wishes(prompt=AFTER, transition=3)},
        {0: wishes(prompt=AFTER), 3: wishes(prompt=BEFORE, transition=2)},
    ]
    host = pipeline(small, sequential=False)
    streams = [host.open(SIZE) for _ in range(2)]
    together: list[dict[int, torch.Tensor]] = [{}, {}]
    now = [changes[0] for changes in asked]
    frames = clip(1, 6)
    for index in range(6):
        now = [changes.get(index, wish) for changes, wish in zip(asked, now, strict=True)]
        works = [Work(s, index, frames[index], wish) for s, wish in zip(streams, now, strict=True)]
        for result in host.step(works):
            together[streams.index(result.stream)][result.index] = result.frames
    for i in range(2):
        alone = pipeline(small)
        own = run(alone, alone.open(SIZE), frames, asked[i])
        for index, pictures in together[i].items():
            torch.testing.assert_close(pictures, own[index].frames, rtol=1e-9, atol=1e-10)


def test_texts_are_read_once_while_somebody_wants_them() -> None:
    read: list[str] = []

    class Listed(RandomReader):
        def __call__(self, text: str) -> torch.Tensor:
            read.append(text)
            return super().__call__(text)

        def note(self, text: str) -> str:
            return "too long" if text == AFTER else ""

    prompts = WanPrompts(Listed(DIT))
    kept: list[Prompt | None] = []
    for _ in range(3):
        wish = prompts.wish()
        wish.heed(wishes(prompt=BEFORE))
        kept.append(wish.prompt)
    assert read == [BEFORE] and kept[0] is kept[1] is kept[2] and wish.notes == {}
    wish.heed(wishes(prompt=AFTER, transition=0))
    assert wish.notes == {"prompt_cut": "too long"}


class Slow:
    """Reads a text in five chunks, but for those that it knows."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)

    def __call__(self, text: str) -> torch.Tensor:
        return RandomReader(DIT)(text)

    def note(self, text: str) -> str:
        return ""

    def begin(self, text: str) -> Any:
        return None if text in self.known else [text, 5 * BLOCKS]

    def advance(self, prompt: Any, blocks: int) -> bool:
        prompt[1] -= blocks
        if prompt[1] <= 0:
            self.known.add(prompt[0])
        return prompt[0] in self.known


def test_the_old_prompt_holds_while_the_new_one_is_read() -> None:
    embed = RandomReader(DIT)
    wish = WanPrompts(Slow(BEFORE)).wish()
    wish.heed(wishes(prompt=BEFORE, new_scene=True))
    assert torch.equal(context(wish), embed(BEFORE))
    asked = wishes(prompt=AFTER, transition=2, new_scene=True)
    for _ in range(4):
        assert not wish.heed(asked)
        assert torch.equal(context(wish), embed(BEFORE))
        assert wish.notes == {"prompt_waits": "it is being read"}
    assert wish.heed(asked), "the scene changes when the prompt does"
    assert wish.notes == {"prompt_share": 0.5}
    assert not wish.heed(asked)
    assert torch.equal(context(wish), embed(AFTER)) and wish.notes == {}
    assert not wish.heed(wishes(prompt="a cat", transition=2))
    assert not wish.heed(asked), "the other one was not wanted after all"
    assert torch.equal(context(wish), embed(AFTER)) and wish.notes == {}


def test_a_transition_goes_on_while_the_next_prompt_is_read() -> None:
    embed = RandomReader(DIT)
    reader = Slow(BEFORE, AFTER)
    wish = WanPrompts(reader).wish()
    wish.heed(wishes(prompt=BEFORE))
    wish.heed(wishes(prompt=AFTER, transition=4))
    for share in (0.5, 0.75, 1.0, 1.0):
        wish.heed(wishes(prompt="a cat", transition=2))
        mixed = (1 - share) * embed(BEFORE) + share * embed(AFTER)
        torch.testing.assert_close(context(wish), mixed)
        assert "prompt_waits" in wish.notes
    moved = WanPrompts(Slow(BEFORE, AFTER)).wish()
    moved.recall(wish.facts())
    assert moved.notes == wish.notes
    asked = wishes(prompt="a cat", transition=2)
    for share in (0.5, 1.0, 1.0):  # the last part of the reading, then the transition
        for one in (wish, moved):
            one.heed(asked)
            mixed = (1 - share) * embed(AFTER) + share * embed("a cat")
            torch.testing.assert_close(context(one), mixed)
        assert moved.notes == wish.notes


def test_pictures_change_with_the_prompt(small: WanModel) -> None:
    results = []
    for prompt in (BEFORE, AFTER):
        host = pipeline(small)
        results.append(run(host, host.open(SIZE), clip(1, 2), {0: wishes(prompt=prompt)}))
    assert apart(*results) > 1e-4
