"""`millrace serve`: a supervised worker process, the server around it, and its page."""

from __future__ import annotations

import os
import signal
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from ..streaming.allocator import map_pictures
from ..streaming.captions.host import CaptionOptions
from ..streaming.captions.speech_host import SpeechHost
from ..streaming.captions.speech_model import SpeechError, SpeechOptions, check
from ..streaming.captions.supervisor import CaptionWorkerHost
from ..streaming.config import ConfigError, Options
from ..streaming.fleet import Fleet
from .caption_desk import CaptionDesk
from .errors import CallError, CommandError
from .ice import IceServer
from .settings import ServerSettings, is_loopback
from .viewers import load_passes


def settings(
    host: str,
    port: int,
    token: str,
    options: Options,
    ice_servers: Sequence[str],
    users: Path | None = None,
) -> ServerSettings:
    """The server's settings from the command line's.

    Args:
        users: a file with further tokens and their classes of service, see `viewers.load_passes`.

    Raises:
        CallError: open to other machines without a token, or a malformed ICE server.
    """
    passes = load_passes(users) if users is not None else ()
    if not token and not passes and not is_loopback(host):
        raise CallError(
            f"--host {host} can be reached from other machines; add --token SECRET (or set "
            "MILLRACE_TOKEN), which every visitor must then give, or leave --host at 127.0.0.1"
        )
    try:
        return ServerSettings(
            host=host,
            port=port,
            token=token,
            width=options.width,
            height=options.height,
            fps=options.fps,
            ice_servers=tuple(map(IceServer.parse, ice_servers)),
            passes=passes,
        )
    except ValueError as error:
        raise CallError(str(error)) from error


def run(
    options: Options,
    server: ServerSettings,
    open_page: bool,
    captions: CaptionOptions | None = None,
    heard_by: SpeechOptions | None = None,
) -> None:
    """Serve until interrupted.

    Args:
        captions: the language model that tells about the pictures; None serves without one.
        heard_by: the model that hears speech; None hears none.

    Raises:
        CallError: the devices cannot be used in the way that was asked for.
        CommandError: the port is taken, or the worker did not come up.
    """
    map_pictures()
    # Here, as it brings Gradio and aiortc along: two seconds that a wrong call need not take.
    from .server import PortInUse, serve

    def announce(url: str) -> None:
        print(f"Millrace is at {url}  (Ctrl-C stops it)", flush=True)
        if server.token:
            print("Visitors need the token: add ?token=... once.", flush=True)
        if open_page and has_display():
            webbrowser.open(f"{url}?token={server.token}" if server.token else url)

    print(f"Starting {options.pipeline} ...", file=sys.stderr, flush=True)
    # Asked to end by a service manager it ends as at Ctrl-C. The server raises the signal again
    # once it has stopped, which otherwise ended this process before its workers and their memory.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(_fleet(options), server, announce, desk(captions, heard_by))
    except PortInUse as error:
        raise CommandError(str(error)) from error
    except (RuntimeError, TimeoutError) as error:
        raise CommandError(f"could not start: {error}") from error
    except KeyboardInterrupt:
        pass
    print("Stopped.", file=sys.stderr)


def _fleet(options: Options) -> Fleet:
    try:
        return Fleet(options)
    except ConfigError as error:
        raise CallError(str(error)) from error


def desk(options: CaptionOptions | None, heard_by: SpeechOptions | None = None) -> CaptionDesk:
    """The captions of a server; what tells and what hears have a worker each."""
    return CaptionDesk(
        CaptionWorkerHost(options) if options is not None else None,
        speech=SpeechHost(heard_by) if heard_by is not None else None,
    )


def speech(path: Path | None, captions: bool) -> SpeechOptions | None:
    """What hears, from the command line's folder.

    Raises:
        CallError: there is no usable model in it, or nothing that could show its words.
    """
    if path is None:
        return None
    if not captions:
        raise CallError("--asr writes into the captions, so leave --no-captions out")
    try:
        check(path)
    except SpeechError as error:
        raise CallError(str(error)) from error
    return SpeechOptions(path)


def has_display() -> bool:
    """Whether a browser could show itself on this machine."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
