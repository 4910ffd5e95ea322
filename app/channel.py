"""The messages of the data channel; `docs/protocol.md` describes them for other clients."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

from ..streaming.captions.track import Cue

PROTOCOL = 1
MAX_MESSAGE = 16_384
"""Longest accepted message, in characters."""


class MessageError(ValueError):
    """A message that is not of the protocol; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class Change:
    """New values for some controls."""

    values: Mapping[str, object]
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget the past."""

    id: int | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with the server's clock; `t` is echoed."""

    t: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop or resume feeding pictures to the model."""

    on: bool


@dataclass(frozen=True, slots=True)
class Hello:
    """What the page can do."""

    features: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Captions:
    """Captions on or off, of which picture, and a standing wish; None leaves a thing as it is."""

    on: bool | None = None
    of: Literal["source", "styled"] | None = None
    instruction: str | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A question about what was seen, about second `at` where it is given."""

    text: str
    at: float | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """ "Tell me when ..."."""

    text: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Remove an alert."""

    alert: int
    id: int | None = None


CaptionMessage = Captions | Ask | Watch | Unwatch
Message = Change | Reset | Ping | Pause | Hello | CaptionMessage


def parse(text: str | bytes) -> Message:
    """One message of the page.

    Raises:
        MessageError: not JSON, too long, an unknown type or a field of the wrong type.
    """
    if not isinstance(text, str):
        raise MessageError("expected a text message with a JSON object")
    if len(text) > MAX_MESSAGE:
        raise MessageError(f"message of {len(text)} characters; the most is {MAX_MESSAGE}")
    try:
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MessageError("the message is not JSON") from None
    if not isinstance(data, dict):
        raise MessageError("expected a JSON object with a field 'type'")
    return _message(data)


def _message(data: dict[str, Any]) -> Message:
    match data.get("type"):
        case "controls":
            values = data.get("values")
            if not isinstance(values, dict):
                raise MessageError("controls: expected an object 'values'")
            return Change(values, _id(data))
        case "reset":
            return Reset(_id(data))
        case "ping":
            t = data.get("t")
            if not _is_number(t):
                raise MessageError("ping: expected a number 't'")
            return Ping(float(t))
        case "pause":
            on = data.get("on")
            if not isinstance(on, bool):
                raise MessageError("pause: expected true or false in 'on'")
            return Pause(on)
        case "hello":
            features = data.get("features", [])
            if not isinstance(features, list) or not all(isinstance(f, str) for f in features):
                raise MessageError("hello: expected a list of names in 'features'")
            return Hello(tuple(features))
        case "captions" | "ask" | "watch" | "unwatch" as kind:
            return _caption_message(kind, data)
        case kind:
            raise MessageError(f"unknown message type {str(kind)[:40]!r}")


def _caption_message(kind: str, data: dict[str, Any]) -> CaptionMessage:
    match kind:
        case "captions":
            return _captions(data)
        case "ask":
            at = data.get("at")
            if at is not None and not (_is_number(at) and at >= 0):
                raise MessageError("ask: expected seconds of the stream in 'at'")
            return Ask(_text(kind, data), None if at is None else float(at), _id(data))
        case "watch":
            return Watch(_text(kind, data), _id(data))
    alert = data.get("alert")
    if not isinstance(alert, int) or isinstance(alert, bool):
        raise MessageError("unwatch: expected a whole number in 'alert'")
    return Unwatch(alert, _id(data))


def _captions(data: dict[str, Any]) -> Captions:
    on, of, wish = data.get("on"), data.get("of"), data.get("instruction")
    if on is not None and not isinstance(on, bool):
        raise MessageError("captions: expected true or false in 'on'")
    if of not in (None, "source", "styled"):
        raise MessageError("captions: expected source or styled in 'of'")
    if wish is not None and not isinstance(wish, str):
        raise MessageError("captions: expected a text in 'instruction'")
    return Captions(on, of, wish, _id(data))


def _text(kind: str, data: dict[str, Any]) -> str:
    text = data.get("text")
    if not isinstance(text, str):
        raise MessageError(f"{kind}: expected a text in 'text'")
    return text


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _id(data: dict[str, Any]) -> int | None:
    value = data.get("id")
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise MessageError("expected a whole number in 'id'")


def encode(kind: str, /, **fields: Any) -> str:
    """One message to the page, as JSON."""
    return json.dumps(plain({"type": kind, **fields}), separators=(",", ":"), allow_nan=False)


def cue(cue: Cue) -> dict[str, Any]:
    """A cue as messages and the HTTP interface carry it."""
    return {
        "id": cue.id,
        "start": cue.start,
        "end": cue.end,
        "text": cue.text,
        "kind": cue.kind,
        "final": cue.final,
    }


def _refuse(name: str) -> float:
    """NaN and Infinity are no JSON, and a browser could not read them back."""
    raise ValueError(name)


def plain(value: object) -> Any:
    """The value as JSON knows it: NaN and infinity, which it lacks, become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)
