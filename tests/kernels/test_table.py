"""The file of measured choices survives what files go through."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from millrace.kernels import table as module
from millrace.kernels.measure import Result, Verdict
from millrace.kernels.table import KIND, MOST_BUCKETS, MOST_MACHINES, Machine, Table, sources_hash

HERE = Machine("Mill 9000", (("torch", "2.13"), ("triton", "3.4")), "abc")
WAYS = ("reference", "triton")
VERDICT = Verdict(
    "triton",
    "2.00x as fast as reference",
    (
        Result("reference", True, 0.0, 2.0, 0.1, tried=True),
        Result("triton", False, 1e-3, 1.0, 0.1, tried=True),
        Result("sage", True, refused="only head_dim 64"),
    ),
)


def kept(file: Path, machine: Machine = HERE) -> Table:
    table = Table(machine, file)
    table.keep("rope", "float32[8]", WAYS, VERDICT)
    table.save()
    return table


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "kernels.json"
    kept(file)
    again = Table(HERE, file)
    found = again.find("rope", "float32[8]", WAYS)
    assert found is not None and again.said == ""
    assert (found.chosen, found.reason) == (VERDICT.chosen, VERDICT.reason)
    assert found.results[:2] == VERDICT.results[:2]
    assert math.isnan(found.results[2].ms) and found.results[2].refused == "only head_dim 64"
    assert list(file.parent.iterdir()) == [file]  # nothing half written is left


@pytest.mark.parametrize(
    "other",
    [
        replace(HERE, device="Mill 10000"),
        replace(HERE, versions=(("torch", "2.14"), ("triton", "3.4"))),
        replace(HERE, versions=(("torch", "2.13"), ("triton", "3.5"))),
        replace(HERE, sources="abd"),
    ],
    ids=["device", "torch", "triton", "sources"],
)
def test_another_machine_measures_anew_and_leaves_the_first_its_own(
    tmp_path: Path, other: Machine
) -> None:
    file = tmp_path / "kernels.json"
    kept(file)
    assert Table(other, file).find("rope", "float32[8]", WAYS) is None
    kept(file, other)
    assert Table(HERE, file).find("rope", "float32[8]", WAYS) is not None


def test_another_set_of_ways_measures_anew(tmp_path: Path) -> None:
    kept(tmp_path / "kernels.json")
    table = Table(HERE, tmp_path / "kernels.json")
    assert table.find("rope", "float32[8]", (*WAYS, "newly installed")) is None
    assert table.find("rope", "float32[16]", WAYS) is None
    assert table.find("norm", "float32[8]", WAYS) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{broken", "Expecting property name"),
        ("\x00\xff", "was ignored"),
        ("[]", "not a table of choices"),
        ('{"kind": "holiday pictures"}', "not a table of choices"),
        (json.dumps({"kind": KIND, "format": 2, "machines": {}}), "format 2 and not 1"),
        (
            json.dumps({"kind": KIND, "format": 1, "machines": {HERE.key: {"choices": {"a": 1}}}}),
            "not a table of choices",
        ),
        (
            json.dumps({"kind": KIND, "format": 1, "machines": {HERE.key: {"choices": {"rope": {
                "float32[8]": {"ways": ["reference"], "chosen": "triton", "reason": "",
                               "results": []}}}}}}),
            "triton is none of reference",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_ours_is_ignored_and_that_is_said(
    tmp_path: Path, text: str, why: str
) -> None:
    file = tmp_path / "kernels.json"
    file.write_text(text, "latin-1")
    table = Table(HERE, file)
    assert why in table.said and str(file) in table.said
    assert table.find("rope", "float32[8]", WAYS) is None
    table.keep("rope", "float32[8]", WAYS, VERDICT)
    table.save()
    healed = Table(HERE, file)
    assert healed.said == "" and healed.find("rope", "float32[8]", WAYS) is not None


def test_a_folder_that_cannot_be_written_is_said_and_the_choices_hold(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    table = kept(tmp_path / "file" / "kernels.json")
    assert "were not kept in" in table.said
    assert table.find("rope", "float32[8]", WAYS) == VERDICT


def test_nothing_measured_writes_nothing(tmp_path: Path) -> None:
    Table(HERE, tmp_path / "kernels.json").save()
    assert not list(tmp_path.iterdir())


def test_the_file_stays_bounded(tmp_path: Path) -> None:
    file = tmp_path / "kernels.json"
    for number in range(MOST_MACHINES + 2):
        kept(file, replace(HERE, device=f"Mill {number}"))
    machines = json.loads(file.read_text())["machines"].values()
    assert [m["device"] for m in machines] == [f"Mill {n}" for n in range(2, MOST_MACHINES + 2)]
    table = Table(HERE)
    for size in range(MOST_BUCKETS + 1):
        table.keep("rope", f"float32[{size}]", WAYS, VERDICT)
    assert len(table.choices()["rope"]) == MOST_BUCKETS
    assert table.find("rope", "float32[0]", WAYS) is None


def test_this_machine_tells_what_its_choices_depend_on() -> None:
    here = Machine.of("cpu")
    assert here == Machine.of("cpu") and here.key == Machine.of("cpu").key
    assert dict(here.versions)["torch"] == torch.__version__
    assert here.sources == sources_hash(Path(module.__file__).parent)


def test_a_changed_kernel_has_another_hash(tmp_path: Path) -> None:
    (tmp_path / "rope.py").write_text("a = 1\n")
    sources_hash.cache_clear()
    before = sources_hash(tmp_path)
    (tmp_path / "rope.py").write_text("a = 2\n")
    sources_hash.cache_clear()
    assert sources_hash(tmp_path) != before
