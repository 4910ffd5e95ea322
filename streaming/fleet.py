"""Several devices as one host: places sessions, lets others wait, moves them, outlives a device.

Each device has a worker process of its own (`supervisor`). A session's handle is the fleet's, so it
stays the same wherever the session is. What fits where is decided by pure functions
(`scheduling.admission`, `scheduling.placement`) over what the workers measured.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from .clock import Clock, SystemClock
from .config import Options
from .frames import Frame
from .host import Event, HostInfo, HostRefused, Listener, Output
from .moves import Mover
from .muster import Muster
from .pipeline import StreamConfig
from .scheduling.placement import Balance
from .session import HostedSession, check_size, defaults
from .ticket import Member, Ticket
from .totals import added
from .trace import Span
from .waiting import WaitingRoom, ordinal

BEAT_S = 1.0
"""Between two looks at the queue and at how the load lies."""


class Fleet:
    """Runs sessions on all devices of a machine.

    Args:
        options: `devices` names them; each gets a worker with these options.
        clock: whoever stamps the frames must use the same.
        spare, hang_s: see `WorkerHost`.
    """

    def __init__(
        self,
        options: Options,
        clock: Clock | None = None,
        *,
        spare: bool = True,
        hang_s: float = 20.0,
    ) -> None:
        self._options = options
        self._clock = clock or SystemClock()
        self._muster = Muster(options, self._clock, spare=spare, hang_s=hang_s)
        self._mover = Mover(self._heard)
        self._balance = Balance()
        # Guards the three below. Never held while something is delivered.
        self._changed = threading.Condition(threading.Lock())
        self._tickets: dict[str, Ticket] = {}
        self._waiting = WaitingRoom(options.queue)
        self._rejected = 0
        self._ids = itertools.count(1)
        self._began = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="millrace-fleet", daemon=True)

    # ---- Host ----------------------------------------------------------------------------------

    def start(self) -> None:
        if not self._began:
            self._began = True
            self._muster.start()
            self._thread.start()

    def ready(self, timeout: float | None = None) -> HostInfo:
        """Wait until every device is live or has failed; one that is live will do."""
        return self._muster.ready(timeout)

    def open(
        self, config: StreamConfig, listener: Listener, changes: Mapping[str, object] | None = None
    ) -> HostedSession:
        """See `Host.open`. Where there is no room the session is "queued" and opens by itself."""
        info = self._muster.known_info()
        check_size(info.pipeline, config)
        schema = info.pipeline.controls
        controls = defaults(schema, changes)
        session = HostedSession(f"s{next(self._ids)}", config, schema, controls, listener, self)
        ticket = Ticket(session, info.pipeline.chunk, self._clock.now())
        with self._changed:
            why = self._settle_in(ticket)
            self._tickets[session.id] = ticket
            if ticket.member is None:
                self._changed.notify_all()  # a lone device's fleet sleeps while nobody waits
        if ticket.member is None:
            self._tell_queue(why)
        else:
            try:
                self._attach(ticket, ticket.member)
            except HostRefused:
                self._drop(ticket)
                raise
        return session

    def sessions(self) -> tuple[HostedSession, ...]:
        with self._changed:
            return tuple(ticket.session for ticket in self._tickets.values())

    def stats(self) -> Mapping[str, Any]:
        with self._changed:
            tickets = list(self._tickets.values())
            queued, rejected = len(self._waiting), self._rejected
        each = [member.host.stats() for member in self._muster.members]
        admitted = len(tickets) - queued
        return {
            "sessions": {"admitted": admitted, "queued": queued, "rejected": rejected},
            "worker": self._muster.summary([numbers["worker"] for numbers in each]),
            "devices": [
                {**own, "worker": numbers["worker"], "totals": numbers["totals"]}
                for own, numbers in zip(self._muster.report(tickets), each, strict=True)
            ],
            "totals": added(*(numbers["totals"] for numbers in each)),
            "by_session": {t.session.id: t.session.stats() for t in tickets},
        }

    def record(self, on: bool) -> None:
        for member in self._muster.members:
            member.host.record(on)

    def recorded(self) -> tuple[Span, ...]:
        return tuple(span for member in self._muster.members for span in member.host.recorded())

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            waiting = [self._tickets[id] for id in self._waiting]
            self._changed.notify_all()
        for ticket in waiting:
            self._closed(ticket, Event("closed", "the server stopped"))
        if self._began and self._thread.is_alive():
            self._thread.join()
        self._muster.stop()

    # ---- Link: what sessions ask ---------------------------------------------------------------

    def send_frame(self, session: HostedSession, frame: Frame) -> None:
        if ticket := self._tickets.get(session.id):
            ticket.put(frame)

    def send_controls(self, session: HostedSession) -> None:
        ticket = self._tickets.get(session.id)
        if ticket is not None and (member := ticket.member) is not None:
            member.host.exchange.send_controls(session)

    def send_close(self, session: HostedSession, reason: str) -> None:
        ticket = self._tickets.get(session.id)
        if ticket is None:
            return
        ticket.wanted = False
        if (member := ticket.member) is None:
            self._closed(ticket, Event("closed", reason))
        else:
            member.host.exchange.send_close(session, reason)

    def session_stats(self, session: HostedSession) -> Mapping[str, Any]:
        ticket = self._tickets.get(session.id)
        if ticket is None:
            return {}
        if (member := ticket.member) is None:
            place = dict(zip(("position", "estimate_s"), ticket.told or (), strict=False))
            return {"queued": place, "drops": {"queued": ticket.missed}}
        numbers = dict(member.host.exchange.session_stats(session))
        drops = {**numbers.get("drops", {}), "queued": ticket.missed}
        return {**numbers, "drops": drops, "device": member.label}

    # ---- who gets a place ----------------------------------------------------------------------

    def _settle_in(self, ticket: Ticket) -> str:
        """Give a newcomer a device or a place in the queue; why it has to wait. Needs the lock.

        Raises:
            HostRefused: the queue is full, or the server ends.
        """
        if self._stopping:
            raise HostRefused("the server is stopping")
        ticket.member, why = self._choose(ticket)
        if ticket.member is not None and not len(self._waiting):
            return ""
        ticket.member = None
        if self._waiting.full:
            self._rejected += 1
            ahead = len(self._waiting)
            queue = "nobody may wait here (--queue)"
            if ahead:
                queue = f"{ahead} viewers wait already" if ahead > 1 else "a viewer waits already"
            raise HostRefused(f"{why}; {queue}", self._waiting.estimate(ahead + 1, self._served()))
        self._waiting.enter(ticket.session.id)
        return why

    def _choose(self, ticket: Ticket) -> tuple[Member | None, str]:
        """A device with room for a session, or why there is none. Needs the lock."""
        if self._served() >= self._options.max_sessions:
            places = self._options.max_sessions
            return None, f"all {places} places are taken" if places > 1 else "the place is taken"
        served = [t for t in self._tickets.values() if t.member is not None and t is not ticket]
        return self._muster.choose(ticket, served)

    def _served(self) -> int:
        return sum(ticket.member is not None for ticket in self._tickets.values())

    def _attach(self, ticket: Ticket, member: Member) -> None:
        member.host.attach(ticket.session, partial(self._heard, ticket, member))

    def _pump(self) -> None:
        """Give places to those who wait, in their order, as long as there are some."""
        while True:
            with self._changed:
                ticket = next((self._tickets[id] for id in self._waiting), None)
                member = self._choose(ticket)[0] if ticket is not None else None
                if ticket is None or member is None:
                    return
                self._waiting.leave(ticket.session.id)
                ticket.member, ticket.opened_at = member, self._clock.now()
            said = Event("opening", f"there is room on {member.label}", {"device": member.label})
            ticket.session.deliver(said)
            try:
                self._attach(ticket, member)
            except HostRefused as refusal:
                self._closed(ticket, Event("closed", str(refusal)))

    def _tell_queue(self, why: str = "") -> None:
        """Tell everyone who waits where they stand, if that has changed."""
        news: list[tuple[Ticket, int, float]] = []
        with self._changed:
            served = self._served()
            for position, id in enumerate(self._waiting, 1):
                estimate = self._waiting.estimate(position, served)
                ticket = self._tickets[id]
                if ticket.told != (position, estimate):
                    ticket.told = (position, estimate)
                    news.append((ticket, position, estimate))
        for ticket, position, estimate in news:
            words = f"{ordinal(position)} in the queue, about {estimate:.0f} s"
            data = {"position": position, "estimate_s": estimate}
            ticket.session.deliver(Event("queued", f"{why}; {words}" if why else words, data))

    def _run(self) -> None:
        """The fleet's own thread: the queue moves on, load is evened out."""
        while True:
            with self._changed:
                idle = not len(self._waiting) and len(self._muster.members) < 2
                self._changed.wait(None if idle else BEAT_S)
                if self._stopping:
                    return
                tickets = list(self._tickets.values())
            self._pump()
            self._tell_queue()
            if self._muster.portable:
                self._even_out(tickets)

    def _even_out(self, tickets: list[Ticket]) -> None:
        """Move a session from a loaded device to an idle one, if the rule says so."""
        move = self._balance.move(self._clock.now(), *self._muster.loads(tickets))
        if move is None:
            return
        ticket = next(ticket for ticket in tickets if ticket.session.id == move[0])
        target = next(member for member in self._muster.members if member.label == move[1])
        self._mover.begin(ticket, target)

    # ---- what comes from the devices, on their threads -----------------------------------------

    def _heard(self, ticket: Ticket, member: Member, item: Output | Event) -> None:
        if self._mover.concerns(ticket, member, item):
            return
        if member is not ticket.member:
            return
        if isinstance(item, Event) and item.kind == "closed":
            self._closed(ticket, item)
        else:
            ticket.session.deliver(item)

    def _closed(self, ticket: Ticket, event: Event) -> None:
        """A session ended; or only its device did, then it goes on on another one."""
        member = ticket.member
        lost = member is not None and member.host.state == "failed" and ticket.wanted
        if lost and any(other.live for other in self._muster.members):
            with self._changed:
                ticket.member = None
                self._waiting.enter(ticket.session.id, first=True)
            ticket.session.deliver(Event("interrupted", event.message))
        else:
            self._drop(ticket)
            ticket.session.deliver(event)
        with self._changed:
            self._changed.notify_all()

    def _drop(self, ticket: Ticket) -> None:
        with self._changed:
            self._tickets.pop(ticket.session.id, None)
            self._waiting.leave(ticket.session.id)
            if ticket.member is not None:
                self._waiting.ended(self._clock.now() - ticket.opened_at)
