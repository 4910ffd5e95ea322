"""Where a device's cost table is kept between starts: one file per machine, build and device."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from .costs import CostTable

_log = logging.getLogger(__name__)


def cost_file(folder: Path, machine: Sequence[str]) -> Path:
    """The file for a machine.

    Args:
        folder: of the user's caches.
        machine: all that makes the times different, as text: device, versions, precision, threads,
            name and size of the model.
    """
    key = hashlib.sha256("\n".join(machine).encode()).hexdigest()[:16]
    return folder / f"costs-{key}.json"


def load_costs(file: Path) -> CostTable | None:
    """The kept table, or None when there is none that can be read."""
    try:
        return CostTable.from_json(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s cannot be read (%s); measuring again", file, error)
        return None


def save_costs(file: Path, costs: CostTable) -> None:
    """Keep a table for the next start. A folder that cannot be written to costs only a warning."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(costs.to_json()), "utf-8")
        part.replace(file)
    except OSError as error:
        _log.warning("the measured costs were not kept in %s: %s", file, error)
