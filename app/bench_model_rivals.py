"""The rivals of `bench --compare`: checked and given their weights before ours are built, as that
may be refused, and as a model in use may have packed its weights in another form."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..streaming.clock import Clock
from ..streaming.config import ConfigError, Options, resolve
from ..streaming.pipeline import Pipeline
from .errors import CallError

if TYPE_CHECKING:
    from ..streaming.measuring.rivals import Challenge, Entry, Rival


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rivals with their weights written."""

    entries: Sequence[tuple[Entry, Challenge]]
    ends: ExitStack

    def build(self, pipeline: Pipeline, changes: Mapping[str, object]) -> list[Rival]:
        """Make them, beside our own pipeline.

        Args:
            changes: controls of our session that differ from the defaults.

        Raises:
            RivalError: one cannot do what is asked of it.
        """
        rivals = []
        for entry, challenge in self.entries:
            rival = entry.build(replace(challenge, controls=dict(changes)), pipeline)
            self.ends.callback(rival.close)
            rivals.append(rival)
        return rivals


def prepare(names: Sequence[str], options: Options, clock: Clock, ends: ExitStack) -> Prepared:
    """Check each rival and write what it reads; nothing is built that stays.

    Args:
        ends: closes the folders and the rivals.

    Raises:
        CallError: a device or type that there is not.
        RivalError: not known, not installed, of another model, or it does not fit.
    """
    if not names:
        return Prepared((), ends)
    from ..streaming.calibrate import measure
    from ..streaming.measuring.rivals import Challenge, check_memory, entry_of

    entries = [entry_of(name, options.pipeline) for name in dict.fromkeys(names)]
    try:
        config = resolve(options, measure(options, clock), alone=True)
    except ConfigError as error:
        raise CallError(str(error)) from error
    prepared = []
    for entry in entries:
        folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="millrace-rival-"))
        challenge = Challenge.of(config, Path(folder))
        check_memory(entry, challenge)
        entry.export(challenge)
        prepared.append((entry, challenge))
    return Prepared(prepared, ends)
