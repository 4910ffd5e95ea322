"""Which kernels run: measured while an engine warms up, kept for the next start, told.

Loads torch only when called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..kernels.table import Table

FILE = "kernels.json"
"""In the folder of what was measured on this machine."""


@contextmanager
def measured(device: str, folder: Path) -> Iterator[None]:
    """Within, calls on a GPU that nothing is known of are measured; on a processor the choice is
    made when the code is written, and nothing is done.

    Args:
        device: "cpu" or "cuda:0" and the like.
        folder: where the choices are kept.
    """
    if not device.startswith("cuda"):
        yield
        return
    from ..kernels.chosen import warming_up
    from ..kernels.table import Machine, Table
    from ..kernels.timers import DeviceTimer

    table = Table(Machine.of(device), folder / FILE)
    with warming_up(table, DeviceTimer(device)):
        yield


def told() -> tuple[str, ...]:
    """What was chosen in this process, in sentences; nothing where nothing was to be chosen."""
    from ..kernels.chosen import in_use, unmeasured

    table = in_use()
    if table is None:
        return ()
    notes = [f"Kernels: {said}." for said in of_table(table)]
    if missing := unmeasured():
        notes.append(f"Kernels: {len(missing)} kinds of calls were not measured: {missing[0]}.")
    return tuple(notes)


def of_table(table: Table) -> tuple[str, ...]:
    """What a table holds, and what became of its file."""
    choices = [verdict for buckets in table.choices().values() for verdict in buckets.values()]
    own = sum(
        any(result.name == verdict.chosen and not result.library for result in verdict.results)
        for verdict in choices
    )
    device = table.machine.device
    if not choices:
        said = f"nothing is measured on {device} yet; the first start does that"
    else:
        said = (
            f"{own} of {len(choices)} kinds of calls run faster through kernels of our own, "
            f"measured on {device} (kept in {table.file})"
        )
    return (said, table.said) if table.said else (said,)
