"""Rules for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a browser is promised (`.ci/run`), a skipped browser test is a failed one."""
    report = yield
    if report.skipped and "browser" in item.keywords and os.environ.get("MILLRACE_REQUIRE_BROWSER"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but a browser is required: {report.longrepr}"
    return report


def pytest_configure() -> None:
    """A shell makes what it starts in the background deaf to Ctrl-C; some tests send one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
