"""Rules for all tests."""

from __future__ import annotations

import os
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
