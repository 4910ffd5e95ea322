"""Failures of a command, each with the exit code that it ends with."""

from __future__ import annotations


class CommandError(Exception):
    """A command could not do its work; the message says why and what to do. Exit code 1."""

    exit_code = 1


class CallError(CommandError):
    """The command was called wrongly: nothing was tried. Exit code 2."""

    exit_code = 2


class Interrupted(CommandError):
    """The user stopped it (Ctrl-C). Exit code 130, as shells have it."""

    exit_code = 130
