"""An engine in this process, for work on files and for benchmarks."""

from __future__ import annotations

from collections.abc import Callable

from ..assets import AssetError
from ..streaming.assemble import Around, Assembled, as_it_is, assemble
from ..streaming.clock import Clock
from ..streaming.config import ConfigError, Options
from .errors import CallError, CommandError


def start(
    options: Options,
    clock: Clock,
    wake: Callable[[], None] = lambda: None,
    around: Around = as_it_is,
) -> Assembled:
    """Measure, choose, build and warm up, as the worker process does. Takes seconds.

    Args:
        wake: called from any thread when the engine may have something to do.
        around: see `assemble`.

    An error inside somebody's own pipeline passes through with its traceback.

    Raises:
        CallError: a pipeline, device or type that there is not.
        CommandError: shipped files are missing, or the pipeline breaks its protocol.
    """
    try:
        return assemble(options, clock, wake, alone=True, around=around)
    except ConfigError as error:
        raise CallError(str(error)) from error
    except AssetError as error:
        raise CommandError(str(error)) from error
