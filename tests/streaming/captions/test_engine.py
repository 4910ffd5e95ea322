"""The engine: many viewers in one batch, questions in forks, overload, memory that is full."""

from __future__ import annotations

from typing import Any

import pytest
from caption_fakes import Ear, FakeReader, fake_memory, fake_model, levels
from millrace.streaming.captions.engine import LATE_S, CaptionEngine
from millrace.streaming.captions.host import CaptionConfig, Said, Seen
from millrace.streaming.captions.looks import Look
from millrace.streaming.captions.messages import (
    Acquit,
    Ask,
    CloseCaptions,
    Instruct,
    OpenCaptions,
    Unwatch,
    Watch,
)
from millrace.streaming.captions.model import TextRule
from millrace.streaming.captions.sampler import Sampler
from millrace.streaming.captions.speaking import GateRule
from millrace.streaming.captions.track import Cue
from millrace.streaming.clock import ManualClock


class Bench:
    """An engine with viewers, turned by hand."""

    def __init__(self, reader: FakeReader | None = None, **changes: object) -> None:
        self.clock = ManualClock(1000.0)
        self.reader = reader or FakeReader()
        self.model = fake_model(self.reader, **changes)
        self.taken: list[str] = []
        self.engine = CaptionEngine(self.model, self.clock, taken=self.taken.append)
        self.ears: dict[str, Ear] = {}

    def open(self, id: str = "a", config: CaptionConfig | None = None) -> Ear:
        ear = self.ears[id] = Ear()
        self.engine.request(OpenCaptions(id, config or CaptionConfig()), ear)
        return ear

    def run(self) -> None:
        while self.engine.tick():
            pass

    def show(self, look: Look, id: str = "a", run: bool = True) -> bool:
        alone = self.engine.look(id, look)
        if run:
            self.run()
        return alone

    def ask(self, text: str = "what", id: str = "a", at: float | None = None, n: int = 1) -> None:
        self.engine.request(Ask(id, n, text, at))

    def looks(self, plan: list[int]) -> list[Look]:
        """A look for each second, as captured now."""
        sampler = Sampler(self.model.info.look)
        frames = levels(plan, start=self.clock.now())
        return [look for f in frames for look in sampler.take(f, f.captured_at - 1000.0)]


def test_a_viewer_among_many_reads_what_it_would_alone() -> None:
    plans = {"a": [10, 10, 20, 30], "b": [40, 41, 41, 41], "c": [5, 5, 5, 60]}

    def told(ids: list[str]) -> dict[str, list[str]]:
        bench = Bench()
        films = {id: bench.looks(plans[id]) for id in ids}
        for id in ids:
            bench.open(id)
        bench.run()
        for second in range(4):
            for id in ids:
                bench.show(films[id][second], id, run=False)
            bench.run()
        return {id: ear.texts() for id, ear in bench.ears.items()}

    together = told(["a", "b", "c"])
    assert together == {id: told([id])[id] for id in plans}
    assert together["a"] == [f"the picture is now level {n}" for n in (10, 20, 30)]


def test_all_viewers_go_in_one_pass() -> None:
    bench = Bench()
    for id in "abc":
        bench.open(id)
    bench.run()
    bench.reader.passes.clear()
    for id in "abc":
        bench.show(bench.looks([10])[0], id, run=False)
    bench.run()
    words = len("the picture is now level 10".split())
    assert bench.reader.passes == [("see", 3), ("append", 3), *[("step", 3)] * words]


def test_an_answer_and_a_caption_grow_together() -> None:
    bench = Bench()
    ear = bench.open()
    first, second = bench.looks([10, 20])
    bench.show(first)
    bench.ask()
    bench.show(second, run=False)
    bench.reader.passes.clear()
    bench.run()
    assert ("append", 2) in bench.reader.passes and ("step", 2) in bench.reader.passes
    # Asked before the second look was read, it is about the first.
    assert ear.answer(1) == "it is 10"
    assert ear.texts()[-1] == "the picture is now level 20"


def test_an_answer_waits_for_the_caption_in_flight() -> None:
    bench = Bench()
    ear = bench.open()
    bench.show(bench.looks([10])[0], run=False)
    bench.engine.tick()
    bench.ask()
    bench.engine.tick()
    assert len(bench.reader.streams) == 1  # no fork in the middle of a sentence
    bench.run()
    assert ear.texts() == ["the picture is now level 10"]
    assert ear.answer(1) == "it is 10"


def test_the_parent_is_untouched_by_questions_and_alerts() -> None:
    streams = []
    for disturbed in (False, True):
        bench = Bench()
        bench.open()
        if disturbed:
            bench.engine.request(Watch("a", 9, "level 30"))
        for n, look in enumerate(bench.looks([10, 20, 20, 30])):
            bench.show(look, run=False)
            if disturbed:
                bench.ask(n=n + 1)
            bench.run()
        (stream,) = bench.reader.streams
        streams.append((stream.ids(), [segment.kind for segment in stream.table]))
        assert bench.ears["a"].texts() == [f"the picture is now level {n}" for n in (10, 20, 30)]
    assert streams[0] == streams[1]


def test_speculative_silence_changes_nothing() -> None:
    """What ends a turn is read with what comes next: the tokens are those of reading it at once."""
    bench = Bench()
    bench.open()
    for look in bench.looks([10, 10, 20, 20]):
        bench.show(look)
    (stream,) = bench.reader.streams
    dialect = bench.model.dialect
    ids = [id for words in dialect.opening("") for id in words.ids]
    for number, level in enumerate([10, 10, 20, 20]):
        head = dialect.turn(number, float(number), [])
        says = dialect.encode(f"the picture is now level {level}") if number in (0, 2) else ()
        ids += [*head[0].ids, *[-1 - level] * 4, *head[1].ids, *(says or dialect.silence)]
        ids += [id for words in dialect.footer(number, 0.0, not says) for id in words.ids]
    assert stream.ids() == ids[: stream.length]
    assert stream.length >= len(ids) - 2  # the last ending is still owed


def test_unchanged_looks_cost_nothing_and_are_counted() -> None:
    bench = Bench(gate=GateRule(every=3.0, settle=0))
    ear = bench.open()
    bench.run()
    for look in bench.looks([10] * 7):
        bench.show(look)
    stats = bench.engine.stats()["a"]
    assert stats["looks"]["taken"] == 3 and stats["looks"]["unchanged"] == 4
    assert [name for name, _ in bench.reader.passes].count("see") == 3
    assert len(ear.texts()) == 1
    assert bench.taken == ["a"] * 7


def test_a_question_about_a_still_second_finds_the_turn_before() -> None:
    bench = Bench(gate=GateRule(every=100.0, settle=0))
    ear = bench.open()
    for look in bench.looks([10, 10, 10, 10, 20, 20, 20]):
        bench.show(look)
    bench.ask("what was it", at=2.5)
    bench.run()
    (last,) = [part for part in ear.parts(1) if part.done]
    assert last.span == (2.0, 3.0)  # as asked


def test_overload_drops_looks_and_the_delay_stays_bounded() -> None:
    clock_cost = 0.4

    bench = Bench()
    bench.reader.on_pass = lambda name, rows: bench.clock.advance(clock_cost)
    ear = bench.open()
    bench.run()
    start = bench.clock.now()
    film = bench.looks([n % 60 for n in range(60)])
    waiting = list(film)
    while waiting:
        while waiting and waiting[0].captured_at <= bench.clock.now():
            bench.show(waiting.pop(0), run=False)
        if not bench.engine.tick() and waiting:
            bench.clock.advance(max(0.0, waiting[0].captured_at - bench.clock.now()))
    bench.run()
    delays = [told.delay for told in ear.all if isinstance(told, Said)]
    counts = bench.engine.stats()["a"]["looks"]
    # A caption takes 8 passes here, three seconds: two of three looks find no time.
    assert len(delays) >= 10
    assert max(delays) < LATE_S + 10 * clock_cost
    assert counts["superseded"] + counts["late"] + counts["taken"] == 60
    assert counts["superseded"] > 30
    assert bench.clock.now() - start < 60 + 10


def test_late_looks_are_left_out() -> None:
    bench = Bench()
    ear = bench.open()
    (look,) = bench.looks([10])
    bench.clock.advance(look.captured_at - 1000.0 + LATE_S + 0.1)
    bench.show(look)
    assert bench.engine.stats()["a"]["looks"]["late"] == 1
    assert ear.texts() == [] and bench.taken == ["a"]


def test_the_newest_look_wins() -> None:
    bench = Bench()
    ear = bench.open()
    first, second = bench.looks([10, 20])
    assert bench.show(first, run=False)
    assert not bench.show(second, run=False)
    bench.run()
    assert ear.texts() == ["the picture is now level 20"]
    assert bench.engine.stats()["a"]["looks"]["superseded"] == 1
    assert not bench.show(first, "nobody")


def test_duplicates_are_kept_back_and_counted() -> None:
    bench = Bench(FakeReader(always=True))
    ear = bench.open()
    for look in bench.looks([10, 10, 10, 20, 10]):
        bench.show(look)
    assert ear.texts() == [f"the picture is now level {n}" for n in (10, 20, 10)]
    assert bench.engine.stats()["a"]["duplicates"] == 2


def test_answers_end_at_their_limit() -> None:
    bench = Bench(text=TextRule(caption_tokens=3, answer_tokens=2))
    ear = bench.open()
    bench.show(bench.looks([10])[0])
    bench.ask()
    bench.run()
    assert ear.texts() == ["the picture is"]
    assert ear.answer(1) == "it is"
    assert ear.parts(1)[-1].done


def test_words_are_told_whole() -> None:
    bench = Bench()
    ear = bench.open()
    bench.show(bench.looks([10])[0])
    bench.ask()
    bench.run()
    assert [part.text for part in ear.parts(1)] == ["it", " is", " 10"]
    assert [part.done for part in ear.parts(1)] == [False, False, True]


def test_follow_up_questions_know_what_was_said() -> None:
    bench = Bench()
    bench.open()
    bench.show(bench.looks([10])[0])
    seen: list[Any] = []
    append: Any = bench.reader.append

    def spy(work):  # type: ignore[no-untyped-def]
        seen.extend(piece for _, pieces in work for piece in pieces)
        return append(work)

    bench.reader.append = spy
    bench.ask("what level is the picture now", n=1)
    bench.run()
    bench.ask("and was it 10", n=2)
    bench.run()
    kinds = [piece.kind for piece in seen]
    assert kinds == ["footer", "question", "footer", "question", "answer", "question"]
    seen.clear()
    bench.ask("what is the level in the picture", n=3)  # leans on nothing
    bench.run()
    assert [piece.kind for piece in seen] == ["footer", "question"]


def test_only_so_many_questions_are_answered_at_a_time() -> None:
    bench = Bench()
    ear = bench.open()
    bench.show(bench.looks([10])[0])
    for n in range(1, 5):
        bench.ask(n=n)
    bench.engine.tick()
    assert len(bench.reader.streams) == 1 + 2
    bench.run()
    assert [ear.answer(n) for n in range(1, 5)] == ["it is 10"] * 4
    assert len(bench.reader.streams) == 1


def test_a_full_memory_is_told_and_the_stream_goes_on() -> None:
    bench = Bench(FakeReader(slots=20))
    ear = bench.open()
    (look,) = bench.looks([10])
    bench.show(look)  # 1 + 6 + 6 tokens, and one that ends it
    bench.ask("what " * 10)
    bench.run()
    (part,) = ear.parts(1)
    assert part.done and "full" in part.error
    bench.ask("what", n=2)
    bench.run()
    assert ear.answer(2) == "it is 10"
    assert len(bench.reader.streams) == 1


def test_a_turn_without_room_is_left_out_and_counted() -> None:
    bench = Bench(FakeReader(slots=20), memory=lambda name: fake_memory("last4"))
    ear = bench.open()
    for look in bench.looks([10, 20, 30]):
        bench.show(look)
    assert bench.engine.stats()["a"]["looks"]["no_room"] >= 1
    assert ear.texts()[0] == "the picture is now level 10"


def test_a_viewer_for_whom_there_is_no_room_is_told() -> None:
    bench = Bench(FakeReader(slots=1))
    first, second = bench.open("a"), bench.open("b")
    bench.run()
    assert first.events() == ["live"] and second.events() == ["closed"]
    assert bench.engine.sessions == 1


def test_closing_frees_everything_at_any_time() -> None:
    for ticks in range(12):
        bench = Bench()
        ear = bench.open()
        bench.engine.request(Watch("a", 1, "level 5"))
        first, second = bench.looks([10, 20])
        bench.show(first)
        bench.ask()
        bench.show(second, run=False)
        for _ in range(ticks):
            bench.engine.tick()
        bench.engine.request(CloseCaptions("a", "gone"))
        bench.run()
        assert bench.reader.streams == [] and ear.events() == ["live", "closed"]
        assert bench.engine.stats() == {}


def test_a_new_wish_replaces_the_old_one_and_nothing_else() -> None:
    bench = Bench()
    bench.open(config=CaptionConfig(instruction="level"))
    first, second, third = bench.looks([10, 20, 30])
    bench.show(first)
    (stream,) = bench.reader.streams
    before = [segment for segment in stream.table if segment.kind != "query"]
    bench.show(second, run=False)
    bench.engine.tick()  # in the middle of a sentence
    bench.engine.request(Instruct("a", "picture"))
    bench.run()
    kinds = [segment.kind for segment in stream.table]
    assert kinds[:2] == ["system", "query"] and kinds.count("query") == 1
    assert tuple(stream.table[1].ids[1:]) == bench.model.dialect.encode("picture")
    assert all(any(old is new for new in stream.table) for old in before)
    bench.engine.request(Instruct("a", ""))
    bench.run()
    assert "query" not in [segment.kind for segment in stream.table]
    bench.show(third)
    assert bench.ears["a"].texts()[-1] == "the picture is now level 30"


def test_alerts_come_with_a_cue_and_may_be_removed() -> None:
    bench = Bench()
    ear = bench.open()
    bench.engine.request(Watch("a", 4, "level 30"))
    looks = bench.looks([10, 31, 10, 32])
    for look in looks[:3]:
        bench.show(look)
    (fired,) = ear.fired()
    assert (fired.alert, fired.time) == (4, 1.0)
    assert ear.texts("alert") == ["level 30"]
    bench.engine.request(Unwatch("a", 4))
    bench.show(looks[3])
    assert len(ear.fired()) == 1


def test_alerts_are_about_the_turn_that_ended_though_the_next_look_is_here() -> None:
    bench = Bench()
    ear = bench.open()
    bench.engine.request(Watch("a", 1, "level 30"))
    first, second = bench.looks([40, 10])
    bench.show(first, run=False)
    while not ear.texts():
        bench.engine.tick()
    bench.show(second)
    assert [fired.time for fired in ear.fired()] == [0.0]


def test_a_session_that_is_announced_twice_is_one() -> None:
    bench = Bench()
    ear = bench.open()
    bench.open()
    bench.run()
    assert bench.engine.sessions == 1 and ear.events() == ["live"]
    bad = [bench.open("b", CaptionConfig(memory="elephant")) for _ in range(2)]
    bench.run()
    assert [one.events() for one in bad] == [["closed"], ["closed"]]
    assert len(bench.reader.streams) == 1


def test_an_alert_for_what_is_there_already_fires_at_once() -> None:
    bench = Bench()
    ear = bench.open()
    bench.show(bench.looks([40])[0])
    bench.engine.request(Watch("a", 1, "level 30"))
    bench.run()
    assert len(ear.fired()) == 1


def test_cues_have_their_time_and_a_length() -> None:
    bench = Bench()
    ear = bench.open()
    for look in bench.looks([10, 20]):
        bench.show(look)
    cues: list[Cue] = [told.cue for told in ear.all if isinstance(told, Said)]
    assert [cue.start for cue in cues] == [0.0, 1.0]
    assert all(cue.end - cue.start >= 2.0 for cue in cues)
    assert cues[0].id != cues[1].id


@pytest.mark.parametrize("text", ["what", "why " * 300])
def test_a_question_before_any_turn_is_answered_with_words(text: str) -> None:
    bench = Bench()
    ear = bench.open()
    bench.ask(text)
    bench.run()
    (part,) = ear.parts(1)
    assert part.done and "nothing was seen" in part.error


def seen(ear: Ear) -> list[float]:
    return [told.until for told in ear.all if isinstance(told, Seen)]


def test_every_look_that_was_judged_says_how_far_all_is_told() -> None:
    """Also where the model says nothing, and where it was not asked."""
    bench = Bench(gate=GateRule(settle=0, every=100.0))
    ear = bench.open()
    for look in bench.looks([10, 20, 20, 20]):
        bench.show(look)
    assert len(ear.texts()) == 2 and bench.engine.stats()["a"]["looks"]["unchanged"] == 2
    assert seen(ear) == [0.5, 1.5, 2.5, 3.5]
    last = ear.all.index(next(told for told in ear.all if isinstance(told, Said)))
    assert isinstance(ear.all[last + 1], Seen), "after what there was to say"


def test_a_look_that_comes_too_late_tells_nothing() -> None:
    bench = Bench()
    ear = bench.open()
    (look,) = bench.looks([10])
    bench.clock.advance(LATE_S + 1)
    bench.show(look)
    assert seen(ear) == []


def test_suspects_work_alone_until_they_are_acquitted() -> None:
    bench, marks = Bench(), list[tuple[str, ...]]()
    bench.engine = CaptionEngine(
        bench.model, bench.clock, at_work=lambda ids: marks.append(tuple(ids))
    )
    ears = {id: Ear() for id in "abcd"}
    for id, ear in ears.items():
        bench.engine.request(OpenCaptions(id, CaptionConfig(), suspect=id in "cd"), ear)
    bench.run()
    film = bench.looks([10, 20])

    def rows(look: Look) -> list[int]:
        """How many streams each first pass is about."""
        marks.clear()
        bench.reader.passes.clear()
        for id in ears:
            bench.show(look, id, run=False)
        bench.engine.tick()
        bench.run()
        return [rows for name, rows in bench.reader.passes if name == "see"]

    assert rows(film[0]) == [2, 1, 1]
    assert set(marks) == {("a", "b"), ("c",), ("d",), ()} and marks[-1] == ()
    bench.engine.request(Acquit("c"))
    assert rows(film[1]) == [3, 1]
    assert {tuple(ear.texts()) for ear in ears.values()} == {
        ("the picture is now level 10", "the picture is now level 20")
    }
