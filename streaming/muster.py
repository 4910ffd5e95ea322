"""The devices of a fleet: which there are, how they are, and where there is room."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .agenda import profile_of
from .clock import Clock
from .config import ConfigError, Options, least_deadline
from .expectations import expect
from .host import HostInfo, HostRefused
from .scheduling.admission import admit, claim
from .scheduling.costs import CostTable
from .scheduling.placement import Movable, Offer, best
from .scheduling.quotes import Quotes
from .scheduling.tasks import Profile, Shape, Stage
from .supervisor import WorkerHost
from .ticket import Member, Ticket

ADDED = ("restarts", "memory_mb", "peak_memory_mb")
"""Numbers of workers that make sense as a sum."""


class Muster:
    """Starts one worker for each device and knows how they are.

    They start at the same time; one that fails leaves the others alone.

    Args:
        options: `devices`, or `device` alone; "auto" is every GPU, or else one CPU.
    """

    def __init__(self, options: Options, clock: Clock, *, spare: bool, hang_s: float) -> None:
        self._options = options
        self._make = lambda own: WorkerHost(own, clock, spare=spare, hang_s=hang_s)
        names = options.devices or (options.device,)
        self.members = tuple(
            Member(label, self._make(own)) for label, own in _shared_out(options, names)
        )
        self._open_ended = names == ("auto",)
        self._info: HostInfo | None = None

    def start(self) -> None:
        for member in self.members:
            member.host.start()

    def ready(self, timeout: float | None) -> HostInfo:
        """Wait until every device is live or has failed.

        Raises:
            TimeoutError, RuntimeError: see `Host.ready`; the latter when all have failed.
        """
        infos = self._wait(self.members, timeout)
        if self._open_ended and infos and infos[0].gpus > 1:
            self._take_all(infos[0].gpus)
            infos += self._wait(self.members[1:], timeout)
        self._info = self._described(infos)
        return self._info

    def known_info(self) -> HostInfo:
        """
        Raises:
            HostRefused: not ready, or no device is left.
        """
        if self._info is None:
            raise HostRefused("the engine is still starting; please try again in a moment")
        if all(member.host.failure for member in self.members):
            raise HostRefused(self.members[0].host.failure)
        return self._info

    def choose(self, ticket: Ticket, served: Sequence[Ticket]) -> tuple[Member | None, str]:
        """The device where a session fits best, or why it fits nowhere."""
        live = [member for member in self.members if member.live]
        if not live:
            return None, "the engine is being started again"
        offers: dict[int, Offer] = {}
        why = ""
        for number, member in enumerate(live):
            there = [other for other in served if other.member is member]
            quotes = self._quotes(member, [*there, ticket])
            present = [self._profile(other) for other in there]
            verdict = admit(quotes, present, self._profile(ticket), member.host.memory_free)
            if verdict.admitted:
                prompt = _prompt(ticket)
                alike = sum(_prompt(other) == prompt for other in there) if prompt else 0
                offers[number] = Offer(verdict.share, alike, len(there))
            else:
                why = why or f"{member.label} has no room: {verdict.reason}"
        chosen = best(offers)
        return (None, why) if chosen is None else (live[chosen], "")

    def loads(self, tickets: Sequence[Ticket]) -> tuple[dict[str, list[Movable]], dict[str, float]]:
        """For each device that is up: what could move, and the share of it that is claimed."""
        loads: dict[str, list[Movable]] = {}
        busy: dict[str, float] = {}
        for member in self.members:
            if not member.live:
                continue
            there = [ticket for ticket in tickets if ticket.member is member]
            quotes = self._quotes(member, there)
            loads[member.label], busy[member.label] = [], 0.0
            for ticket in there:
                profile = self._profile(ticket)
                share = claim(quotes, profile, 1).share
                busy[member.label] += share
                if ticket.move is None:
                    # What a stream remembers grows with its picture.
                    movable = Movable(
                        ticket.session.id, share, profile.shape.pixels, profile.service
                    )
                    loads[member.label].append(movable)
        return loads, busy

    @property
    def portable(self) -> bool:
        """Whether sessions can move here."""
        return self._info is not None and self._info.portable and len(self.members) > 1

    def _profile(self, ticket: Ticket) -> Profile:
        assert self._info is not None, "tickets are given out when the pipeline is known"
        least = least_deadline(self._info.device)
        return profile_of(self._info.pipeline, ticket.session, least)

    def _quotes(self, member: Member, tickets: Sequence[Ticket]) -> Quotes:
        """What launches take on a device, for the shapes of these sessions."""
        assert self._info is not None
        table = CostTable.from_json(member.host.costs)
        pipeline = self._info.pipeline
        measured = Shape(*pipeline.size, pipeline.chunk)
        for ticket in tickets:
            expect(table, self._profile(ticket), measured)
        return Quotes(Slowed(table, member.host.interference))

    def summary(self, workers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The numbers of all workers as if they were one."""
        states = [str(numbers["state"]) for numbers in workers]
        state = next((s for s in ("live", "restarting", "starting") if s in states), states[0])
        sums = {
            name: sum(float(n[name]) for n in workers if n.get(name) is not None)
            for name in ADDED
            if any(n.get(name) is not None for n in workers)
        }
        return {**workers[0], **sums, "state": state}

    def report(self, tickets: Sequence[Ticket]) -> list[dict[str, Any]]:
        """How each device is."""
        return [
            {
                "device": member.label,
                "state": member.host.state,
                "sessions": sum(ticket.member is member for ticket in tickets),
                "reason": member.host.failure,
            }
            for member in self.members
        ]

    def stop(self) -> None:
        for member in self.members:
            member.host.stop()

    def _wait(self, members: Sequence[Member], timeout: float | None) -> list[HostInfo]:
        infos, failures = [], []
        for member in members:
            try:
                infos.append(member.host.ready(timeout))
            except TimeoutError:
                raise
            except RuntimeError as error:
                failures.append(error)
        if failures and len(failures) == len(self.members):
            raise failures[0]
        return infos

    def _take_all(self, gpus: int) -> None:
        """The first worker found more GPUs than its own: one worker for each of the others."""
        self.members[0].label = "cuda:0"
        more = tuple(
            Member(f"cuda:{i}", self._make(replace(self._options, device=f"cuda:{i}")))
            for i in range(1, gpus)
        )
        self.members += more
        for member in more:
            member.host.start()

    def _described(self, infos: Sequence[HostInfo]) -> HostInfo:
        """What runs, with a word about each device where there are several."""
        first = infos[0]
        if len(self.members) == 1:
            self.members[0].label = first.device
            return first
        labels = tuple(member.label for member in self.members if not member.host.failure)
        failed = tuple(
            f"Device {member.label} could not be used: {member.host.failure}"
            for member in self.members
            if member.host.failure
        )
        several = f"Devices: {', '.join(labels)}; one worker process each."
        return replace(
            first,
            device=", ".join(labels),
            devices=labels,
            choices=(several, *failed, *first.choices),
        )


@dataclass(frozen=True, slots=True)
class Slowed:
    """Costs on a device that is slower than usual at present; implements `Costs`."""

    table: CostTable
    factor: float

    def seconds(
        self, stage: Stage, shape: Shape, rows: int, window: int | None, share: float = 0.99
    ) -> float:
        """See `Costs.seconds`."""
        return self.factor * self.table.seconds(stage, shape, rows, window, share)


def _prompt(ticket: Ticket) -> object:
    return ticket.session.controls.values.get("prompt")


def _shared_out(options: Options, names: Sequence[str]) -> list[tuple[str, Options]]:
    """A label and options for each device; workers on the CPU share its cores."""
    on_cpu = sum(name == "cpu" for name in names)
    threads = options.threads
    if on_cpu > 1 and options.cores == "apart":
        raise ConfigError("cores: apart is for one model on a processor; use --cores shared")
    if on_cpu > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        threads = max(1, (threads or cores or 1) // on_cpu)
    found: list[tuple[str, Options]] = []
    seen = 0
    for name in names:
        label = name
        if name == "cpu" and on_cpu > 1:
            label, seen = f"cpu:{seen}", seen + 1
        own = threads if name == "cpu" else options.threads
        # Several models on one processor have no cores of their own: each would take the same.
        where = "shared" if on_cpu > 1 and options.cores == "auto" else options.cores
        found.append((label, replace(options, device=name, devices=(), threads=own, cores=where)))
    return found
