"""Control values as typed on a command line, read by what the schema says they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..streaming.controls import Schema
from .errors import CallError

_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_LIES = {"false": False, "no": False, "off": False, "0": False}


def read(schema: Schema, texts: Mapping[str, str]) -> dict[str, object]:
    """Each text in its control's type. What cannot be read stays text, and names nobody knows stay
    too: `Controls.changed` refuses them with the message."""
    kinds = {control.name: control.kind for control in schema}
    return {name: _value(kinds.get(name, "text"), text) for name, text in texts.items()}


def steps_to_run(asked: Sequence[int], schema: Schema) -> list[int | None]:
    """The values of the control `steps` to measure with: those asked for, else all that there are;
    [None] for a model without that control.

    Raises:
        CallError: steps were asked of a model that has no such control.
        ControlError: one that it does not take.
    """
    control = next((c for c in schema if c.name == "steps" and c.kind == "int"), None)
    if control is None:
        if asked:
            raise CallError("this model has no control `steps`; leave --steps out")
        return [None]
    every = range(int(control.minimum or 1), int(control.maximum or 1) + 1)
    return [int(control.check(value)) for value in (asked or every)]


def _value(kind: str, text: str) -> object:
    if kind == "bool":
        return (_TRUTH | _LIES).get(text.lower(), text)
    if kind in ("int", "float"):
        try:
            return int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            return text
    return text
