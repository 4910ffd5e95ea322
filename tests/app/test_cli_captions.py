"""`millrace caption` and `millrace ask` on the sample clip, with a model that tells how bright it
is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from millrace import assets
from millrace.app import cli
from millrace.app.errors import CallError, CommandError
from millrace.app.told_files import clock_time
from millrace.streaming.captions.track import parse_srt, parse_webvtt
from typer.testing import CliRunner

CLIP = str(files(assets).joinpath("clip.mp4"))
BRIGHT = ["--vlm", "caption_fakes:build"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, [*arguments, *BRIGHT])
    assert result.exception is None, result.exception
    return result.stdout


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("caption", CLIP, "--json"))
    return found


def test_captions_come_as_json_with_their_times(told: dict[str, Any]) -> None:
    assert told["model"] == "fake" and told["length"] == pytest.approx(10, abs=0.2)
    starts = [cue["start"] for cue in told["cues"]]
    assert starts == sorted(starts) and 3 < len(starts) and starts[-1] < 10
    assert all(cue["text"].startswith("the picture is now level ") for cue in told["cues"])


def test_captions_are_the_same_each_time_and_in_each_form(
    told: dict[str, Any], tmp_path: Path
) -> None:
    texts = [cue["text"] for cue in told["cues"]]
    lines = run("caption", CLIP).splitlines()
    assert [line.split("  ")[-1] for line in lines] == texts
    assert lines[0].strip().startswith("0:00  ")
    assert [cue.text for cue in parse_webvtt(run("caption", CLIP, "--vtt"))] == texts
    track = tmp_path / "clip.srt"
    assert run("caption", CLIP, "-o", str(track)) == ""
    assert [cue.text for cue in parse_srt(track.read_text())] == texts


def test_alerts_are_part_of_the_track(told: dict[str, Any]) -> None:
    level = told["cues"][-1]["text"].split()[-1]
    cues = json.loads(run("caption", CLIP, "--json", "--watch", level))["cues"]
    assert [cue["text"] for cue in cues if cue["kind"] == "alert"] == [level]


def test_a_question_is_answered_as_of_a_second(told: dict[str, Any]) -> None:
    first = told["cues"][0]["text"].split()[-1]
    assert run("ask", CLIP, "level", "--at", "0.5").strip() == f"it is {first}"
    answer = json.loads(run("ask", CLIP, "level 9 seconds ago", "--json"))
    assert answer["answer"] == f"it is {first}" or answer["answer"].startswith("it is ")
    assert answer["span"][0] <= 1.5 and answer["at"] is None
    assert "(seen from 0:00 to " in run("ask", CLIP, "level 9 seconds ago")


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["caption", "none.mp4"], CallError, "none.mp4 does not exist"),
        (["caption", CLIP, "--json", "--srt"], CallError, "choose one"),
        (["caption", CLIP, "-o", "x.doc"], CallError, "end it in .vtt"),
        (["caption", CLIP, "--vlm", "nobody"], CallError, "nobody"),
        (["caption", CLIP, "--memory", "elephant", *BRIGHT], CallError, "elephant"),
        (["caption", __file__], CommandError, "not a video"),
        (["caption", CLIP, "-o", "/nowhere/x.vtt", *BRIGHT], CallError, "does not exist"),
        (["ask", CLIP, "", *BRIGHT], CallError, "question"),
        (["ask", CLIP, "x" * 10_000, *BRIGHT], CallError, "question"),
        (["ask", CLIP, "level", "--at", "900", *BRIGHT], CallError, "after the end"),
        (["ask", "none.mp4", ""], CallError, "question is empty"),
        (["ask", "none.mp4", "level", "--at", "inf"], CallError, "second inf"),
        (["ask", "none.mp4", "level", "--wish", "x" * 501], CallError, "wish has at most"),
        (["caption", "none.mp4", "--watch", " "], CallError, "condition is empty"),
        (["caption", "none.mp4", "--watch", "tell me when"], CallError, "what to watch for"),
        (["caption", "none.mp4", "--watch", "x" * 201], CallError, "condition has at most"),
    ],
)
def test_wrong_calls_and_failures_say_what_to_do(
    arguments: list[str], kind: type[CommandError], words: str
) -> None:
    error = CliRunner().invoke(cli.app, arguments).exception
    assert type(error) is kind and words in str(error)


def test_captions_never_replace_their_own_video(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(Path(CLIP).read_bytes())
    other = tmp_path / "other.vtt"
    other.symlink_to(video)
    for output in (video, other):
        arguments = ["caption", str(video), "-o", str(output), "--vtt", *BRIGHT]
        error = CliRunner().invoke(cli.app, arguments).exception
        assert type(error) is CallError and "is the input itself" in str(error)
    assert video.read_bytes() == Path(CLIP).read_bytes()


def test_a_damaged_file_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(Path(CLIP).read_bytes()[:4000])
    error = CliRunner().invoke(cli.app, ["caption", str(cut), *BRIGHT]).exception
    assert isinstance(error, CommandError) and "cut.mp4" in str(error)


def test_exit_codes_and_one_line_of_words() -> None:
    program = [sys.executable, "-c", "from millrace.app.cli import main; main()"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [*program, "ask", CLIP, "level", "--at", "-1"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    done = subprocess.run(
        [*program, "ask", CLIP, "level", *BRIGHT],
        capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("it is "), done.stderr
    assert done.stderr == "", "a bar is for terminals"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.9, "1:15"), (3675, "1:01:15")])
def test_times_read_as_people_write_them(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
