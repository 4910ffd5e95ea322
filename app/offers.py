"""What a browser offers: whether a session can come of it, and in which codec."""

from __future__ import annotations

import logging
from typing import Any

from aiortc import RTCRtpSender, sdp
from aiortc.exceptions import (
    InternalError,
    InvalidAccessError,
    InvalidStateError,
    OperationError,
)

log = logging.getLogger(__name__)


class BadOffer(ValueError):
    """An SDP offer that cannot be answered; the message says what was expected."""


SDP_ERRORS = (
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    AssertionError,
    StopIteration,
    RuntimeError,  # what a StopIteration becomes in a coroutine
    InternalError,
    InvalidAccessError,
    InvalidStateError,
    OperationError,
)
"""What aiortc raises on descriptions that it cannot use: four of its own, without a common base,
and whatever its parser trips over."""


KINDS = {"video", "audio", "application"}


def check_offer(text: str) -> None:
    """Refuse what cannot become a session before anything is opened for it.

    Raises:
        BadOffer: not SDP, or not one video section, at most one for sound and one for data, and
            nothing else.
    """
    kinds = _kinds(text)
    if kinds.count("video") != 1 or any(kinds.count(k) > 1 for k in kinds) or set(kinds) - KINDS:
        raise BadOffer(
            f"the offer has the sections {', '.join(sorted(kinds)) or 'none'}; expected one video "
            "section, at most one audio section beside it, and one application section (the data "
            "channel)"
        )


def has_sound(text: str) -> bool:
    """Whether an offer that passed `check_offer` has a section for sound."""
    return "audio" in _kinds(text)


def _kinds(text: str) -> list[str]:
    try:
        return [media.kind for media in sdp.SessionDescription.parse(text).media]
    except SDP_ERRORS as error:
        log.info("offer refused: %r", error)
        raise BadOffer("the offer is no valid SDP") from None


def only_codec(transceiver: Any, name: str) -> None:
    """Answer with one audio codec and no other.

    Args:
        name: as "opus/48000".
    """
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    wanted = [c for c in codecs if f"{c.name}/{c.clockRate}".lower() == name]
    transceiver.setCodecPreferences(wanted)


def prefer(transceiver: Any, codec: str) -> None:
    """Put one codec first in the answer, whatever the browser prefers."""
    offered = RTCRtpSender.getCapabilities("video").codecs
    name = f"video/{codec}".lower()
    first = [c for c in offered if c.mimeType.lower() == name]
    rest = [c for c in offered if c.mimeType.lower() != name]
    transceiver.setCodecPreferences(first + rest)
