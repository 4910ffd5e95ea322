"""How options with a little language of their own are read."""

from __future__ import annotations

import pytest
from millrace.app.cli_options import parse_devices
from millrace.app.errors import CallError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, ()),
        ("auto", ()),
        ("cpu", ("cpu",)),
        ("cpu, cpu", ("cpu", "cpu")),
        ("cuda:0,cuda:1,cpu", ("cuda:0", "cuda:1", "cpu")),
    ],
)
def test_devices_are_read(text: str | None, names: tuple[str, ...]) -> None:
    assert parse_devices(text) == names


@pytest.mark.parametrize("text", ["cpu,,cpu", "cpu,auto", "cuda:0,cuda:0"])
def test_wrong_devices_are_refused(text: str) -> None:
    with pytest.raises(CallError, match="--devices"):
        parse_devices(text)
