"""Reading traces in BurstGPT's schema, and saying what is wrong with those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from millrace.streaming.simulation.trace import TraceError, read, visits

HEADER = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
)


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "trace.csv"
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def test_rows_become_visits(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "105,a,40,ChatGPT,10,20,30,Conversation log",
        "100,b,10,GPT-4,10,0,10,API log",
        "130,a,99999,GPT-4,1,2,3,API log",
    )
    rows = read(path)
    assert [(row.at, row.user, row.length, row.failed) for row in rows] == [
        (0, "b", 10, True),
        (5, "a", 40, False),
        (30, "a", 1800, False),
    ]
    found = visits(rows, seed=1, scale=5)
    assert [(v.session, v.user, v.start, v.abrupt) for v in found] == [
        ("s0", "b", 0, True),
        ("s1", "a", 1, False),
        ("s2", "a", 6, False),
    ]
    assert found[1].end == pytest.approx(9)
    assert found == visits(rows, seed=1, scale=5)


def test_old_files_without_sessions_and_lengths_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "0,GPT-4,1,2,3,API log",
        "7,GPT-4,1,2,3,API log",
        header="\ufeffTimestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
    )
    rows = read(path)
    assert len({row.user for row in rows}) == 2
    assert all(row.length is None for row in rows)
    assert all(visit.end - visit.start >= 2 for visit in visits(rows, seed=0))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("soon,a,1,m,1,2,3,x", r"trace\.csv, row 2: 'Timestamp' is 'soon'; it must be a number"),
        ("-3,a,1,m,1,2,3,x", r"row 2: 'Timestamp' is '-3'"),
        (",a,1,m,1,2,3,x", r"row 2: 'Timestamp' is empty"),
        ("3,a,inf,m,1,2,3,x", r"row 2: 'Elapsed time' is 'inf'"),
        ("3,a,1,m,1,many,3,x", r"row 2: 'Response tokens' is 'many'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read(write(tmp_path, "1,a,1,m,1,2,3,x", row))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TraceError, match="no column 'Timestamp' and no 'Response tokens'; BurstGPT"
    ):
        read(write(tmp_path, "1,2", header="when,what"))


def test_files_that_are_no_trace_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="no rows below its header"):
        read(write(tmp_path))
    (tmp_path / "noise.csv").write_bytes(b"\xff\xfe\x00Timestamp")
    with pytest.raises(TraceError, match="is no CSV file in UTF-8"):
        read(tmp_path / "noise.csv")
