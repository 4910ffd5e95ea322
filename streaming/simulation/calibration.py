"""The short measurement at start, as the engine makes it, of a device that is made up."""

from __future__ import annotations

from random import Random

from ..scheduling.costs import CostTable
from ..scheduling.tasks import Stage
from .device import scaled
from .scenario import Scenario

ROWS = (1, 2, 4)
SAMPLES = 6
STAGES: tuple[Stage, ...] = ("encode", "pass", "decode", "commit")


def measured_costs(scenario: Scenario, seed: int) -> CostTable:
    """A table that knows each stage of the scenario's efforts from a few noisy samples."""
    random = Random(f"calibration {seed}")
    model, table = scenario.device, CostTable()
    kinds = {(scaled(scenario.shape, e.scale), e.window): None for e in scenario.efforts}
    for shape, widest in kinds:
        for stage in STAGES:
            window = widest if stage in ("pass", "commit") else None
            for rows in ROWS:
                mean = model.seconds(stage, shape, rows, window)
                for _ in range(SAMPLES):
                    table.observe(stage, shape, rows, window, mean * random.gauss(1, model.noise))
    return table
