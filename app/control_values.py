"""Control values as typed on a command line, read by what the schema says they are."""

from __future__ import annotations

from collections.abc import Mapping

from ..streaming.controls import Schema

_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_LIES = {"false": False, "no": False, "off": False, "0": False}


def read(schema: Schema, texts: Mapping[str, str]) -> dict[str, object]:
    """Each text in its control's type. What cannot be read stays text, and names nobody knows stay
    too: `Controls.changed` refuses them with the message."""
    kinds = {control.name: control.kind for control in schema}
    return {name: _value(kinds.get(name, "text"), text) for name, text in texts.items()}


def _value(kind: str, text: str) -> object:
    if kind == "bool":
        return (_TRUTH | _LIES).get(text.lower(), text)
    if kind in ("int", "float"):
        try:
            return int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            return text
    return text
