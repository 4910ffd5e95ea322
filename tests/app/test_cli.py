"""The command line: instant help, ranks of settings, exit codes, messages with remedies."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from millrace.app import cli, cli_config, cli_options, control_values
from millrace.app.errors import CallError
from millrace.streaming.controls import Control
from typer.testing import CliRunner

COMMANDS = [
    [],
    ["serve"],
    ["stylize"],
    ["caption"],
    ["ask"],
    ["bench"],
    ["doctor"],
    ["models"],
    ["models", "list"],
    ["models", "pull"],
    ["models", "verify"],
]


def millrace(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from millrace.app.cli import main; main()", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=120, **more)  # type: ignore[call-overload]


BAD_BENCHES = [
    (["--simulate", "--browser"], "--simulate runs no engine"),
    (["--simulate", "--steps", "2"], "--steps: --simulate runs no engine"),
    (["--loads", "1"], "add --simulate"),
    (["--simulate", "--loads", "half"], "write it as 0.5,1"),
    (["--simulate", "--policies", "luck"], "no policy luck"),
    (["--webrtc", "--separate"], "different benchmarks"),
    (["--arrivals", "steady"], "add --fps"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_there_for_every_command(command: list[str]) -> None:
    result = CliRunner().invoke(cli.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


@pytest.mark.parametrize(("arguments", "message"), BAD_BENCHES)
def test_a_benchmark_that_makes_no_sense_is_a_wrong_call(
    arguments: list[str], message: str
) -> None:
    pipeline = [] if "--simulate" in arguments else ["--pipeline", "passthrough"]
    result = CliRunner().invoke(cli.app, ["bench", *pipeline, *arguments])
    assert isinstance(result.exception, CallError)
    assert message in str(result.exception)


def test_a_simulation_writes_a_run_for_each_policy_and_load(tmp_path: Path) -> None:
    report = tmp_path / "runs.json"
    arguments = ["--simulate", "--seconds", "2", "--loads", "0.5,1", "--json", str(report)]
    assert CliRunner().invoke(cli.app, ["bench", *arguments]).exit_code == 0
    runs = json.loads(report.read_text())["runs"]
    assert {(run["policy"], run["load"]) for run in runs} == {
        (policy, load)
        for policy in ("fifo", "edf-drop", "edf-ladder", "millrace")
        for load in (0.5, 1.0)
    }
    assert all(0 <= run["deadline_miss_rate"] <= 1 and run["mean_quality"] <= 1 for run in runs)


def test_an_unknown_command_is_a_wrong_call() -> None:
    assert millrace("paint").returncode == 2


def test_a_failure_prints_one_line_and_no_traceback() -> None:
    done = millrace("models", "pull", "no-such-model")
    assert done.returncode == 2
    assert done.stderr.startswith("millrace: no-such-model: no such model")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "add --token"),
        (["--ice-server", "ftp:x"], "expected stun:"),
        (["--size", "huge"], "256x256"),
    ],
)
def test_serve_refuses_before_it_starts_anything(arguments: list[str], message: str) -> None:
    done = millrace("serve", *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_the_environment_and_the_config_file_have_their_ranks(tmp_path: Path) -> None:
    (tmp_path / "millrace.toml").write_text('[serve]\nhost = "0.0.0.0"\nsize = "32x32"\n')
    environment = os.environ | {"MILLRACE_SIZE": "nonsense"}
    bad = millrace("serve", cwd=tmp_path, env=environment)
    assert "nonsense" in bad.stderr  # the environment outranks the file
    bad = millrace("serve", "--size", "64x64", cwd=tmp_path, env=environment)
    assert "--host 0.0.0.0" in bad.stderr  # the option outranks the environment; the file counts


def outlive(group: int, seconds: float) -> list[int]:
    """Processes of a process group that have not ended after so long (Linux)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, its_group = (
                int(file.parent.name),
                int(file.read_text().rpartition(")")[2].split()[2]),
            )
            if its_group == group:
                ended, _, _ = select.select([os.pidfd_open(pid)], [], [], seconds)
                found += [] if ended else [pid]
        except OSError:
            continue  # it ended while we looked
    return found


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "asked"])
def test_serve_answers_keeps_its_port_and_stops_cleanly(ending: signal.Signals) -> None:
    program = [sys.executable, "-c", "from millrace.app.cli import main; main()", "serve"]
    with subprocess.Popen(
        [*program, "--pipeline", "passthrough", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None and server.stderr is not None
            line = server.stdout.readline()
            assert line.startswith("Millrace is at http://127.0.0.1:"), server.stderr.read()
            url = line.split()[3]
            with urllib.request.urlopen(f"{url}healthz", timeout=20) as answer:
                assert answer.status == 200
            second = millrace(
                "serve", "--pipeline", "passthrough", "--port", url.split(":")[2][:-1]
            )
            assert (second.returncode, "another port" in second.stderr) == (1, True), second.stderr
        finally:
            # Everybody of a terminal hears Ctrl-C; a service manager asks the one that it started.
            send = os.killpg if ending == signal.SIGINT else os.kill
            send(server.pid, ending)
            _, errors = server.communicate(timeout=30)
    assert (server.returncode, "Stopped." in errors, "Traceback" in errors) == (0, True, False), (
        errors
    )
    assert "leaked" not in errors
    assert not outlive(server.pid, 10)


@pytest.mark.parametrize("text", ["256", "0x4", "-1x4", "axb", "256x", "99999x2", ""])
def test_a_bad_size_is_refused(text: str) -> None:
    with pytest.raises(CallError, match="--size"):
        cli_options.parse_size(text)


def test_settings_become_values() -> None:
    texts = cli_options.parse_settings(["a=1", "b=.5", "c=on", "d=a=b", "e=", "f=7", "g=x"])
    schema = (
        Control("a", "", "int", 0),
        Control("b", "", "float", 0.0),
        Control("c", "", "bool", False),
        Control("d", "", "text", ""),
        Control("e", "", "text", ""),
        Control("f", "", "text", ""),
        Control("g", "", "int", 0),
    )
    read = control_values.read(schema, texts)
    assert read == {"a": 1, "b": 0.5, "c": True, "d": "a=b", "e": "", "f": "7", "g": "x"}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_a_setting_needs_a_name_and_a_value(pair: str) -> None:
    with pytest.raises(CallError, match="name=value"):
        cli_options.parse_settings([pair])


OPTIONS = {"serve": frozenset({"port", "ice_server"}), "bench": frozenset({"threads", "port"})}


def config(folder: Path, text: str) -> dict[str, cli_config.Defaults]:
    file = folder / "millrace.toml"
    file.write_text(text, "utf-8")
    return cli_config.load(file, OPTIONS)


def test_a_table_outranks_the_top_of_the_file(tmp_path: Path) -> None:
    read = config(tmp_path, 'port = 1\n[serve]\nport = 2\nice-server = ["stun:a"]\n')
    assert read == {"serve": {"port": 2, "ice_server": ["stun:a"]}, "bench": {"port": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "did you mean port"),
        ("[serv]", "did you mean serve"),
        ("[serve]\nthreads = 1", "known: ice_server, port"),
        ("port = ", "millrace.toml"),
    ],
)
def test_a_bad_config_file_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CallError, match=message):
        config(tmp_path, text)


def test_a_named_config_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="does not exist"):
        cli_config.find(tmp_path / "gone.toml", tmp_path, {})


def test_the_working_folder_comes_before_the_users_own(tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    own = home / ".config" / "millrace" / "millrace.toml"
    own.parent.mkdir(parents=True)
    here.mkdir()
    own.touch()
    assert cli_config.find(None, here, {"HOME": str(home)}) == own
    (here / "millrace.toml").touch()
    assert cli_config.find(None, here, {"HOME": str(home)}) == here / "millrace.toml"
