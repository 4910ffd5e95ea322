"""An engine on a GPU measures its kernels while it warms up; on a processor nothing is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from millrace.kernels import chosen, table, timers
from millrace.kernels.measure import Result, Verdict
from millrace.kernels.table import Machine, Table
from millrace.streaming import kernel_choices
from millrace.streaming.calibrate import cache_folder

WAYS = ("reference", "triton")


@pytest.fixture(autouse=True)
def nothing_chosen() -> Iterator[None]:
    chosen.use(None)
    yield
    chosen.use(None)


def verdict(name: str) -> Verdict:
    results = (Result("reference", True, 0.0, 1.0, 0.1), Result("triton", False, 0.0, 0.5, 0.1))
    return Verdict(name, "", results)


def test_a_processors_choice_is_made_already(tmp_path: Path) -> None:
    with kernel_choices.measured("cpu", tmp_path):
        assert chosen.in_use() is None
    assert kernel_choices.told() == () and not list(tmp_path.iterdir())


def test_a_gpus_choices_are_kept_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine("Mill 9000", (), "abc")

    def timer(device: str) -> Callable[[Callable[[], object]], float]:
        return lambda call: 1.0

    monkeypatch.setattr(table.Machine, "of", lambda device: machine)
    monkeypatch.setattr(timers, "DeviceTimer", timer)
    file = tmp_path / kernel_choices.FILE
    with kernel_choices.measured("cuda:0", tmp_path):
        used = chosen.in_use()
        assert used is not None and used.file == file
        used.keep("rope", "float32[8]", WAYS, verdict("triton"))
        used.keep("linear", "float32[8]", WAYS, verdict("reference"))
    assert kernel_choices.told() == (
        "Kernels: 1 of 2 kinds of calls run faster through kernels of our own, measured on "
        f"Mill 9000 (kept in {file}).",
    )
    with kernel_choices.measured("cuda:0", tmp_path):
        again = chosen.in_use()
        assert again is not None and again.find("rope", "float32[8]", WAYS) is not None
    assert "nothing is measured on Mill 9000 yet" in kernel_choices.of_table(Table(machine))[0]
    file.write_text("broken")
    with kernel_choices.measured("cuda:0", tmp_path):
        assert "was ignored" in kernel_choices.told()[1]


def test_the_folder_can_be_named(tmp_path: Path) -> None:
    named = {"MILLRACE_CACHE": str(tmp_path), "XDG_CACHE_HOME": "/elsewhere"}
    assert cache_folder(named) == tmp_path
    assert cache_folder({"XDG_CACHE_HOME": "/elsewhere"}) == Path("/elsewhere/millrace")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures kernels on a GPU")
def test_an_engine_on_a_gpu_chooses_its_kernels_before_its_first_viewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.streaming.assemble import assemble
    from millrace.streaming.clock import SystemClock
    from millrace.streaming.config import Options

    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path))
    options = Options("tiny", "cuda:0", "bfloat16", width=64, height=64, max_sessions=1)
    built = assemble(options, SystemClock(), lambda: None)
    assert any("kinds of calls" in reason for reason in built.info.choices)
    assert (tmp_path / kernel_choices.FILE).exists()
