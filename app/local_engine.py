"""An engine in this process, for work on files and for benchmarks."""

from __future__ import annotations

from ..assets import AssetError
from ..streaming.assemble import Assembled, assemble
from ..streaming.clock import Clock
from ..streaming.config import ConfigError, Options
from .errors import CallError, CommandError


def start(options: Options, clock: Clock) -> Assembled:
    """Measure, choose, build and warm up, as the worker process does. Takes seconds.

    An error inside somebody's own pipeline passes through with its traceback.

    Raises:
        CallError: a pipeline, device or type that there is not.
        CommandError: shipped files are missing, or the pipeline breaks its protocol.
    """
    try:
        return assemble(options, clock, lambda: None, alone=True)
    except ConfigError as error:
        raise CallError(str(error)) from error
    except AssetError as error:
        raise CommandError(str(error)) from error
