"""`millrace bench --webrtc`: a real server and real peer connections over loopback.

The server is `millrace serve` in a process of its own; all peers live in another one, so that their
encoding and decoding is not the server's. Latency is from a peer's sending of a picture until the
restyled one is decoded there, by the stamps that the server sends (docs/protocol.md), all on the
peers' clock.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ..streaming.telemetry import percentile
from . import machine, soak
from .bench_report import SHARES, jain
from .bench_sessions import Load
from .errors import CommandError
from .processes import resident_mb, tree

WARM_UP_S = 3.0
PATIENCE_S = 120.0
DEFAULT_FPS = 30.0


def measure(load: Load) -> dict[str, Any]:
    """One run with `load.sessions` peers.

    Raises:
        CommandError: the server did not start, or no peer could connect.
    """
    options = load.options
    arguments = [
        "--pipeline", options.pipeline, "--device", options.device, "--dtype", options.dtype,
        "--threads", str(options.threads), "--size", f"{options.width}x{options.height}",
        "--fps", str(load.fps or DEFAULT_FPS), "--max-sessions", str(load.sessions),
        "--cores", options.cores,
    ]  # fmt: skip
    try:
        with soak.server(arguments) as (url, pid):
            peers = _in_process(url, load)
            memory = resident_mb(tree(pid))
    except RuntimeError as error:
        raise CommandError(str(error)) from error
    return summary(peers, load) | {"memory_mb": round(memory, 1)}


def _in_process(url: str, load: Load) -> list[dict[str, Any]]:
    """What each peer saw; the peers' process has ended when this returns."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=peers_main, args=(theirs, url, load), daemon=True)
    process.start()
    theirs.close()
    try:
        if not mine.poll(PATIENCE_S + load.seconds):
            raise CommandError("the peers did not come to an end in time")
        found: list[dict[str, Any]] | str = mine.recv()
    except EOFError:
        raise CommandError("the peers' process failed; its reason stands above") from None
    finally:
        mine.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()
    if isinstance(found, str):
        raise CommandError(found)
    return found


def peers_main(connection: Connection, url: str, load: Load) -> None:
    """Entry point of the peers' process."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import asyncio

    from .bench_peers import run

    try:
        connection.send(asyncio.run(run(url, load, load.fps or DEFAULT_FPS, WARM_UP_S)))
    except (OSError, TimeoutError, ValueError) as error:
        connection.send(f"the peers failed: {error or type(error).__name__}")


def summary(peers: Sequence[Mapping[str, Any]], load: Load) -> dict[str, Any]:
    """The peers' numbers together, by the names that all reports use.

    `fresh_fps` counts pictures that answer a source picture. A peer cannot see which of them the
    engine repeated (half rate, a still picture): the rungs and drops under `engine` tell.

    Args:
        peers: {"rejected": reason}, {"queued": True}, or a `BenchPeer.result`.

    Raises:
        CommandError: nobody was let in.
    """
    rejected = [peer["rejected"] for peer in peers if "rejected" in peer]
    queued = sum("queued" in peer for peer in peers)
    let_in = [peer for peer in peers if "times" in peer]
    if not let_in:
        raise CommandError(f"the server let nobody in: {rejected[0] if rejected else 'all wait'}")
    fps, seconds = load.fps or DEFAULT_FPS, load.seconds
    delays = sorted(delay for peer in let_in for delay in peer["delays"])
    deadline = load.deadline_ms / 1e3
    late = sum(delay > deadline for delay in delays) if deadline else 0
    gaps = sorted(
        abs(b - a - 1 / fps)
        for peer in let_in
        for a, b in zip(peer["times"], peer["times"][1:], strict=False)
    )
    drops: dict[str, int] = {}
    for peer in let_in:
        for cause, count in peer["drops"].items():
            drops[cause] = drops.get(cause, 0) + count
    fresh = len(delays) / seconds
    return {
        "mode": "webrtc",
        "source_fps": fps,
        "raw_fps": round(sum(len(peer["times"]) for peer in let_in) / seconds, 2),
        "fresh_fps": round(fresh, 2),
        "goodput_fps": round((len(delays) - late) / seconds, 2),
        "deadline_ms": load.deadline_ms,
        "deadline_miss_rate": round(late / len(delays), 4) if delays else 0.0,
        "e2e_ms": {name: _ms(percentile(delays, share)) for name, share in SHARES},
        "ttff_ms": {
            name: _ms(percentile(sorted(peer["ttff"] for peer in let_in), share))
            for name, share in SHARES
        },
        "jitter_ms": _ms(percentile(gaps, 0.95)),
        "fairness_jain": round(jain([len(peer["delays"]) for peer in let_in]), 4),
        "sessions": {"admitted": len(let_in), "queued": queued, "rejected": len(rejected)},
        "drops": drops,
        "engine": [peer["stats"] for peer in let_in],
        "load_average": machine.load_average(),
    }


def table(found: Mapping[str, Any]) -> list[str]:
    """The result as text."""
    sessions, e2e = found["sessions"], found["e2e_ms"]
    of = "/".join("-" if value is None else f"{value:.0f}" for value in e2e.values())
    dropped = ", ".join(f"{k} {v}" for k, v in found["drops"].items() if v) or "none"
    return [
        f"{sessions['admitted']} peers over loopback at {found['source_fps']:g} frames a second, "
        f"{sessions['queued']} left waiting, {sessions['rejected']} turned away",
        f"shown                {found['raw_fps']:.1f} frames/s together, of them new "
        f"{found['fresh_fps']:.1f}, in time {found['goodput_fps']:.1f}",
        f"sent to decoded      p50/p95/p99 {of} ms; first picture after "
        f"{found['ttff_ms']['p50']:.0f} ms",
        f"jitter p95           {found['jitter_ms']} ms; fairness {found['fairness_jain']:.3f}",
        f"dropped              {dropped}",
        f"memory               {found['memory_mb']:.0f} MB (server and workers)",
    ]


def _ms(seconds: float) -> float | None:
    return round(seconds * 1e3, 2) if seconds == seconds else None


def offer_body(sdp: str, load: Load, fps: float) -> bytes:
    """The JSON of an offer (docs/protocol.md)."""
    size = {"width": load.options.width, "height": load.options.height}
    return json.dumps({"sdp": sdp, "type": "offer", "fps": fps, **size}).encode()
