"""What a viewer can steer: a declared schema and frozen values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

Value = str | float | int | bool
Kind = Literal["text", "float", "int", "bool", "choice"]
MAX_TEXT = 2_000
"""Longest accepted text control, in characters."""


class ControlError(ValueError):
    """A value that a control does not take; the message names the control and the remedy."""


@dataclass(frozen=True, slots=True)
class Control:
    """One steerable value of a pipeline, with what a page needs to draw it."""

    name: str
    label: str
    kind: Kind
    default: Value
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    help: str = ""

    def check(self, value: object) -> Value:
        """The value in the control's own type.

        Raises:
            ControlError: wrong type, out of range, not a choice, or text too long.
        """
        if self.kind == "bool":
            if isinstance(value, bool):
                return value
            raise ControlError(f"{self.name}: expected true or false, got {value!r}")
        if self.kind in ("text", "choice"):
            return self._check_text(value)
        return self._check_number(value)

    def _check_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise ControlError(f"{self.name}: expected text, got {type(value).__name__}")
        if self.kind == "choice":
            if value not in self.choices:
                raise ControlError(
                    f"{self.name}: {value!r} is not one of {', '.join(self.choices)}"
                )
            return value
        if len(value) > MAX_TEXT:
            raise ControlError(
                f"{self.name}: {len(value)} characters; the most is {MAX_TEXT}, please shorten it"
            )
        return value

    def _check_number(self, value: object) -> float | int:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ControlError(f"{self.name}: expected a number, got {value!r}")
        if not math.isfinite(value):
            raise ControlError(f"{self.name}: expected a finite number, got {value!r}")
        if self.kind == "int" and int(value) != value:
            raise ControlError(f"{self.name}: expected a whole number, got {value!r}")
        low, high = self.minimum, self.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise ControlError(f"{self.name}: {value} is outside {low} to {high}")
        return int(value) if self.kind == "int" else float(value)


Schema = tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Controls:
    """All values at one moment. Replaced whole, read at chunk boundaries.

    `epoch` grows by one with each change, so a viewer can be told when a change reached the screen;
    `resets` grows by one with each request to forget the past.
    """

    values: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    epoch: int = 0
    resets: int = 0

    @staticmethod
    def defaults(schema: Schema) -> Controls:
        return Controls(MappingProxyType({c.name: c.default for c in schema}))

    def changed(self, schema: Schema, changes: Mapping[str, object]) -> Controls:
        """New controls with `changes` applied and the epoch advanced.

        Raises:
            ControlError: a name that the schema lacks or a value that its control does not take;
                nothing is changed then.
        """
        known = {c.name: c for c in schema}
        merged = dict(self.values)
        for name, value in changes.items():
            if name not in known:
                raise ControlError(
                    f"{name}: no such control; there are {', '.join(known) or 'none'}"
                )
            merged[name] = known[name].check(value)
        return replace(self, values=MappingProxyType(merged), epoch=self.epoch + 1)

    def reset(self) -> Controls:
        return replace(self, epoch=self.epoch + 1, resets=self.resets + 1)

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def text(self, name: str) -> str:
        return str(self.values[name])

    def number(self, name: str) -> float:
        return float(self.values[name])
