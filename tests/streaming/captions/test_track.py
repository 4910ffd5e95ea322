"""The caption track and the files it is written to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.streaming.captions.track import (
    LEAST_S,
    VTT_HEADER,
    Cue,
    Track,
    one_line,
    parse_srt,
    parse_webvtt,
    shown,
    srt,
    vtt_cue,
    webvtt,
)

TIMES = st.floats(0, 200_000, allow_nan=False)
TEXTS = st.text(max_size=40)
CUES = st.lists(
    st.builds(
        lambda id, start, length, text, kind, final: Cue(
            id, start, start + length, text, kind, final
        ),
        st.integers(1, 50),
        TIMES,
        st.floats(0, 30),
        TEXTS,
        st.sampled_from(["caption", "alert", "speech", "answer"]),
        st.booleans(),
    ),
    max_size=12,
)


def test_webvtt_is_written_as_the_standard_has_it() -> None:
    cues = [
        Cue(1, 0.0, 2.5, "a <red> circle & a --> arrow"),
        Cue(2, 3661.0405, 3663.0, "it moves", "alert"),
        Cue(3, 400_000.0, 400_001.0, "late"),
    ]
    assert webvtt(cues) == (
        "WEBVTT\n\n"
        "1\n00:00:00.000 --> 00:00:02.500\na &lt;red&gt; circle &amp; a --&gt; arrow\n\n"
        "2\n01:01:01.040 --> 01:01:03.000\n<c.alert>it moves</c>\n\n"
        "3\n111:06:40.000 --> 111:06:41.000\nlate\n\n"
    )


def test_srt_counts_from_one_and_has_commas() -> None:
    cues = [Cue(8, 1.0, 2.0, "two\nlines"), Cue(9, 59.9996, 61.0, "over <b>", "speech")]
    assert srt(cues) == (
        "1\n00:00:01,000 --> 00:00:02,000\ntwo lines\n\n"
        "2\n00:01:00,000 --> 00:01:01,000\n[speech] over \u2039b\u203a\n\n"
    )


@settings(max_examples=60, deadline=None)
@given(CUES)
def test_what_is_written_is_read_back(cues: list[Cue]) -> None:
    wanted = shown(cues)
    read = parse_webvtt(webvtt(cues))
    assert [(c.kind, c.text) for c in read] == [(c.kind, one_line(c.text)) for c in wanted]
    for mine, theirs in zip(wanted, read, strict=True):
        assert theirs.start == pytest.approx(mine.start, abs=6e-4)
        assert theirs.end == pytest.approx(mine.end, abs=6e-4)
    assert len(parse_srt(srt(cues))) == len(wanted)


@settings(max_examples=60, deadline=None)
@given(CUES)
def test_cues_of_a_kind_do_not_overlap_and_all_have_a_length(cues: list[Cue]) -> None:
    out = shown(cues)
    assert [cue.start for cue in out] == sorted(cue.start for cue in out)
    assert all(cue.end - cue.start >= LEAST_S - 1e-9 for cue in out)
    for kind in ("caption", "alert", "speech", "answer"):
        own = [cue for cue in out if cue.kind == kind]
        assert all(a.end <= b.start for a, b in zip(own, own[1:], strict=False))


def test_captions_and_speech_may_stand_together() -> None:
    cues = [Cue(1, 0.0, 4.0, "a circle"), Cue(2, 1.0, 3.0, "hello", "speech")]
    assert [(c.start, c.end) for c in shown(cues)] == [(0.0, 4.0), (1.0, 3.0)]


def test_a_cue_ends_where_the_next_begins() -> None:
    cues = [Cue(1, 0.0, 4.0, "a"), Cue(2, 1.0, 3.0, "b"), Cue(3, 1.1, 3.0, "c")]
    assert [(c.start, c.end) for c in shown(cues)] == [(0.0, 1.0), (1.0, 1.5), (1.5, 3.0)]


def test_a_file_that_grows_equals_a_whole_one() -> None:
    cues = [Cue(n, float(n), n + 1.0, f"word {n}") for n in range(5)]
    assert VTT_HEADER + "".join(vtt_cue(cue) for cue in cues) == webvtt(cues)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0])
def test_times_that_are_none_are_refused(time: float) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        vtt_cue(Cue(1, time, 2.0, "x"))


@pytest.mark.parametrize("text", ["", "no header\n\n", "WEBVTTX\n\n"])
def test_other_files_are_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="no WebVTT"):
        parse_webvtt(text)
    with pytest.raises(ValueError, match="no cue"):
        parse_srt("one\ntwo\nthree")


def test_a_later_cue_of_the_same_id_takes_the_place() -> None:
    track = Track(limit=3)
    track.add(Cue(1, 0.0, 1.0, "hel", "speech", final=False))
    track.add(Cue(2, 0.5, 1.0, "a circle"))
    track.add(Cue(1, 0.0, 1.5, "hello", "speech"))
    assert [cue.text for cue in track.cues()] == ["hello", "a circle"]
    track.add(Cue(3, 2.0, 3.0, "c"))
    track.add(Cue(4, 3.0, 4.0, "d"))
    assert [cue.id for cue in track.cues()] == [2, 3, 4] and track.dropped == 1
    assert webvtt([Cue(1, 0.0, 1.0, "may change", "speech", final=False)]) == VTT_HEADER
