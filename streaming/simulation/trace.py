"""Visits from a recorded trace in the CSV schema of BurstGPT (Wang et al., 2024).

| column | becomes |
|---|---|
| `Timestamp` (s) | when a session starts, counted from the first row |
| `Session ID` | the user; rows of one conversation are visits of one user |
| `Elapsed time` (s) | how long it lasts, between 2 s and 30 min; if empty or 0 it is drawn |
| `Response tokens` | 0 marks a failed request: the viewer vanishes without a goodbye |
| `Model`, `Request tokens`, `Total tokens`, `Log Type` | not used |

Files without `Session ID` and `Elapsed time`, as the dataset's first ones are, are read too: every
row is a user of its own and lengths are drawn. Frame rates, pauses and prompts are not in the data;
they are drawn as for synthetic visits.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .arrivals import LONGEST_S, SHORTEST_S, Visit, furnish

NEEDED = ("Timestamp", "Response tokens")


class TraceError(ValueError):
    """The trace cannot be read; the message names the file, the row and the remedy."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of the trace. `length` is None when the trace does not say."""

    at: float
    user: str
    length: float | None
    failed: bool


def read(path: Path) -> tuple[Row, ...]:
    """The rows in the order of time, the first one at 0.

    Raises:
        TraceError: the file cannot be read, a column is missing, a value is no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _parse(path.name, csv.DictReader(file))
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path.name} is no CSV file in UTF-8: {error}") from error
    if not rows:
        raise TraceError(f"{path.name} has no rows below its header; nobody would come")
    first = min(row.at for row in rows)
    moved = (Row(row.at - first, row.user, row.length, row.failed) for row in rows)
    return tuple(sorted(moved, key=lambda row: row.at))


def visits(rows: Iterable[Row], seed: int, scale: float = 1.0) -> tuple[Visit, ...]:
    """A visit for each row; starts, lengths and pauses are divided by `scale`."""
    return tuple(
        furnish(f"s{n}", row.user, row.at / scale, row.length, seed, scale, abrupt=row.failed)
        for n, row in enumerate(rows)
    )


def _parse(name: str, reader: csv.DictReader[str]) -> list[Row]:
    missing = [column for column in NEEDED if column not in (reader.fieldnames or ())]
    if missing:
        raise TraceError(
            f"{name} has no column {' and no '.join(map(repr, missing))}; BurstGPT's columns are "
            "Timestamp, Session ID, Elapsed time, Model, Request tokens, Response tokens, "
            "Total tokens, Log Type"
        )
    return [_row(name, number, fields) for number, fields in enumerate(reader, 1)]


def _row(name: str, number: int, fields: Mapping[str, str | None]) -> Row:
    where = f"{name}, row {number}"
    at = _number(where, "Timestamp", fields)
    if at is None:
        raise TraceError(f"{where}: 'Timestamp' is empty; it needs the seconds of the arrival")
    length = _number(where, "Elapsed time", fields)
    response = _number(where, "Response tokens", fields)
    user = (fields.get("Session ID") or "").strip() or f"row {number}"
    kept = min(LONGEST_S, max(SHORTEST_S, length)) if length else None
    return Row(at, user, kept, response == 0)


def _number(where: str, column: str, fields: Mapping[str, str | None]) -> float | None:
    """The value, None when the column is absent or empty."""
    text = (fields.get(column) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise TraceError(f"{where}: {column!r} is {text!r}; it must be a number, 0 or more")
    return value
