"""Whether a standing wish leaves what it should to be told, and silences all else."""

from __future__ import annotations

from collections.abc import Sequence

from ...vl.model import VLModel
from .measures import Sheet
from .player import Player, Show
from .telling import WISHES

SHARE = "caption f1 with a wish for"
"""What the shares are called in a report."""


def granted(model: VLModel, shows: Sequence[Show]) -> dict[str, float | None]:
    """F1 of the captions by kind of wish, under the default memory."""
    return {kind: _granted(model, shows, kind).captions.f1 for kind in WISHES}


def _granted(model: VLModel, shows: Sequence[Show], kind: str) -> Sheet:
    player, sheet = Player(model, "default", shows, wish=WISHES[kind][0]), Sheet()
    for number in range(max(len(show.turns) for show in shows)):
        player.turn(number)
    for seat in player.seats:
        sheet.captions_of(seat.show.turns, seat.said, kind)
    return sheet
