"""Moves sessions between the devices of a fleet while they run.

The old device brings out what is in flight and packs the session; the new one opens it from there;
only when its stream is back does the old one let go. Until then either side may fail, and the
session stays where it was. Frames that come meanwhile are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from .host import Event, HostRefused, Output
from .ticket import Member, Move, Ticket, parcel_file

_log = logging.getLogger(__name__)

Heard = Callable[[Ticket, Member, Output | Event], None]


class Mover:
    """
    Args:
        heard: takes what a device says about a session.
    """

    def __init__(self, heard: Heard) -> None:
        self._heard = heard

    def begin(self, ticket: Ticket, target: Member) -> bool:
        """Move a session; False when it cannot move now."""
        with ticket.gate:
            source = ticket.member
            if source is None or source is target or ticket.move is not None:
                return False
            try:
                ticket.move = move = Move(target, parcel_file())
                saved = partial(self._saved, ticket, move)
                kept = source.host.save(ticket.session, str(move.parcel), saved)
            except (OSError, HostRefused) as error:
                _log.info("session %s cannot move: %s", ticket.session.id, error)
                ticket.settle(source)
                return False
            for planes, stamp in kept:
                ticket.keep(stamp.frame(planes))
        return True

    def concerns(self, ticket: Ticket, member: Member, item: Output | Event) -> bool:
        """Whether what a device says is about a move only; then nobody else is to hear it."""
        move = ticket.move
        if move is None or not isinstance(item, Event):
            return False
        if member is move.target:
            if item.kind == "live":
                self._arrived(ticket, move)
            elif item.kind in ("interrupted", "closed"):
                self._call_off(ticket, move, item.message)
            return item.kind != "notes"
        if member is not ticket.member:
            return False
        if item.kind == "closed":
            self._abandon(ticket, move)
        elif item.kind == "interrupted":
            # Once the new device has the parcel, the old one's end does no harm.
            if move.sent:
                return True
            with ticket.gate:
                ticket.settle(member)
        return False

    def _saved(self, ticket: Ticket, move: Move, problem: str) -> None:
        """The old device has packed the session, or says why it could not."""
        if ticket.move is not move:
            return
        if not problem:
            try:
                move.sent = True
                hear = partial(self._heard, ticket, move.target)
                move.target.host.attach(ticket.session, hear, str(move.parcel))
                return
            except HostRefused as refusal:
                problem = str(refusal)
        self._call_off(ticket, move, problem)

    def _arrived(self, ticket: Ticket, move: Move) -> None:
        with ticket.gate:
            source = ticket.member
            if ticket.move is not move or source is None:
                return
            move.target.host.exchange.follow(ticket.session, source.host.exchange)
            ticket.settle(move.target)
        source.host.detach(ticket.session)
        # Controls that changed meanwhile went to the old device.
        move.target.host.exchange.send_controls(ticket.session)
        label = move.target.label
        ticket.session.deliver(Event("live", f"moved to {label}", {"device": label}))

    def _call_off(self, ticket: Ticket, move: Move, why: str) -> None:
        _log.info("session %s stays where it is: %s", ticket.session.id, why)
        move.target.host.detach(ticket.session)
        with ticket.gate:
            source = ticket.member
            if ticket.move is not move or source is None:
                return
            # Before the frames that were kept: those that waited there are older.
            source.host.stay(ticket.session)
            ticket.settle(source)

    def _abandon(self, ticket: Ticket, move: Move) -> None:
        """The session ended on its way."""
        move.target.host.detach(ticket.session)
        with ticket.gate:
            ticket.move = None
            ticket.kept.clear()
        move.parcel.unlink(missing_ok=True)
