"""The process that hears: one recogniser for all sessions, fed and answered over a pipe.

A process of its own, because the loader of models ends its process when a model is not what it
should be, and because hearing must never hold up a picture: it runs below everything else.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from ..messages import Failed, Loaded, Ping, Pong, Start, Started, Stop, ToWorker
from ..telemetry import process_stats
from .speech import SpeechEngine, Words
from .speech_messages import CloseSpeech, Heard, NewPiece, OpenSpeech, PieceTaken
from .speech_model import SpeechError, SpeechOptions, build

NICENESS = 10
STDERR = 2


def main(connection: Connection, mark: str) -> None:
    """Entry point of the process: wait for `Start`, run until told to stop or until the web process
    is gone.

    Args:
        mark: name of a `LaunchMark`, not used: steps are about all sessions at once.
    """
    # Ctrl-C reaches the whole group; the web process decides when the worker ends. SIGTERM ends it
    # at once: there is nothing to save.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICENESS)
    # The web process is gone, or went while something was said to it: nothing is left to do.
    with contextlib.suppress(EOFError, OSError):
        connection.send(Loaded())
        start = connection.recv()
        if isinstance(start, Start):
            assert isinstance(start.options, SpeechOptions), "this worker hears"
            run(connection, start.options)


def run(connection: Connection, options: SpeechOptions) -> None:
    """Load the model and hear until told to stop."""
    try:
        with _errors_into(options.log):
            recogniser, info = build(options)
    except SpeechError as error:
        connection.send(Failed(str(error)))
        raise SystemExit(1) from error

    def said(session: str, words: Words) -> None:
        connection.send(Heard(session, words))

    engine = SpeechEngine(recogniser, said, lambda session: connection.send(PieceTaken(session)))
    connection.send(Started(info))
    while True:
        # Between two steps only what is there already is read.
        while not engine.busy or connection.poll():
            if not _handle(connection, engine, connection.recv()):
                return
        engine.tick()


def _handle(connection: Connection, engine: SpeechEngine, message: ToWorker) -> bool:
    """Returns False at the end."""
    match message:
        case NewPiece(session, piece):
            engine.hear(session, piece)
            engine.tick()
        case OpenSpeech(session, first_id):
            engine.open(session, first_id)
        case CloseSpeech(session):
            engine.close(session)
        case Ping():
            numbers = {"sessions": engine.sessions, "steps": engine.steps}
            connection.send(Pong({}, {**process_stats(), **numbers}))
        case Stop():
            return False
    return True


@contextlib.contextmanager
def _errors_into(log: str) -> Iterator[None]:
    """The loader says what is wrong on the standard error stream, then ends the process: keep it,
    so that the web process can say it where somebody reads it."""
    if not log:
        yield
        return
    before = os.dup(STDERR)
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), STDERR)
    try:
        yield
    finally:
        os.dup2(before, STDERR)
        os.close(before)
