""" "Tell me when ...": what to watch for, and when it counts as come true. Pure; no torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_OPENING = re.compile(
    r"^\s*(?:please\s+|hey\s+|can you\s+|could you\s+|will you\s+|would you\s+)*"
    r"(?:(?:tell|alert|warn|notify|inform|call|message|ping)\s+(?:me|us)"
    r"|let\s+(?:me|us)\s+know|give\s+(?:me|us)\s+(?:a\s+)?(?:sign|shout|note)"
    r"|say\s+(?:so|something)|watch\s+(?:out\s+)?for|look\s+out\s+for|wait)\b"
    r"[\s,:]*(?:please\s+)?",
    re.IGNORECASE,
)
_WHEN = re.compile(
    r"^(?:as\s+soon\s+as|the\s+moment(?:\s+that)?|when(?:ever)?|once|if|until|every\s+time)\b\s*",
    re.IGNORECASE,
)


def parse_condition(text: str) -> str:
    """The condition in a wish: "Please tell me when a dog appears!" -> "a dog appears"; words
    without such a beginning are the condition themselves. Empty where nothing is left."""
    rest = _OPENING.sub("", " ".join(text.split()), count=1)
    return _WHEN.sub("", rest, count=1).strip(" .!?,;:\"'")


def is_wish(text: str) -> bool:
    """Whether words ask to be told later ("tell me when ...") rather than at once."""
    opening = _OPENING.match(text)
    return opening is not None and _WHEN.match(text[opening.end() :].lstrip()) is not None


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Attributes:
    fire: log-odds of yes at which an alert comes true.
    rearm: log-odds at which it counts as false again, lower.
    refractory: seconds after it fired within which it does not fire again.
    """

    fire: float = 1.0
    rearm: float = -1.0
    refractory: float = 5.0

    def __post_init__(self) -> None:
        if not self.rearm < self.fire:
            raise ValueError(f"rearm ({self.rearm}) must lie below fire ({self.fire})")


@dataclass(slots=True)
class Alert:
    """One standing alert: fires on the rising edge, and again only after it was false meanwhile.

    A condition that is true at the first look fires too: who asks to be told when something is
    there wants to know that it is there already.

    Attributes:
        number: the viewer's.
        condition: what to watch for.
    """

    number: int
    condition: str
    rule: AlertRule = field(default_factory=AlertRule)
    _armed: bool = True
    _fired: float | None = None

    def heard(self, time: float, odds: float) -> bool:
        """Whether it fires now. Called at each look, in order.

        Args:
            time: second of the stream.
            odds: log(p(yes) / p(no)); not a number counts as unknown and changes nothing.
        """
        if odds <= self.rule.rearm:
            self._armed = True
            return False
        rested = self._fired is None or time >= self._fired + self.rule.refractory
        if odds >= self.rule.fire and self._armed and rested:
            self._armed, self._fired = False, time
            return True
        return False
