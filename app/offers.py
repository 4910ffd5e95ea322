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


def check_offer(text: str) -> None:
    """Refuse what cannot become a session before anything is opened for it.

    Raises:
        BadOffer: not SDP, or not one video section, at most one for data, and nothing else.
    """
    try:
        kinds = sorted(media.kind for media in sdp.SessionDescription.parse(text).media)
    except SDP_ERRORS as error:
        log.info("offer refused: %r", error)
        raise BadOffer("the offer is no valid SDP") from None
    if kinds not in (["video"], ["application", "video"]):
        raise BadOffer(
            f"the offer has the sections {', '.join(kinds) or 'none'}; expected one video and one "
            "application section (the data channel)"
        )


def prefer(transceiver: Any, codec: str) -> None:
    """Put one codec first in the answer, whatever the browser prefers."""
    offered = RTCRtpSender.getCapabilities("video").codecs
    name = f"video/{codec}".lower()
    first = [c for c in offered if c.mimeType.lower() == name]
    rest = [c for c in offered if c.mimeType.lower() != name]
    transceiver.setCodecPreferences(first + rest)
