"""Which seconds of the stream a question is about, by its words. No torch here."""

from __future__ import annotations

import re

Span = tuple[float, float]

_NUMBERS = {
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "a few": 4,
    "a couple of": 2,
    "half a": 0.5,
    "half an": 0.5,
    "a quarter of an": 0.25,
}
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "m": 60.0}
_SECONDS |= {"h": 3600.0, "hour": 3600.0}
_NUMBER = r"(\d+(?:\.\d+)?|" + "|".join(sorted(_NUMBERS, key=len, reverse=True)) + ")"
_UNIT = r"(seconds?|secs?|s|minutes?|mins?|m|hours?|h)"
_AMOUNT = rf"{_NUMBER}\s*{_UNIT}\b(?:\s*(?:and\s+)?(a half|{_NUMBER[1:-1]})(?:\s*{_UNIT}\b)?)?"
_AGO = re.compile(rf"\b(?:about |around |some )?{_AMOUNT}\s+(?:ago|before|earlier|back)\b")
_CLOCK = re.compile(r"\b(?:at|around|about)\s+(?:(\d+):)?(\d{1,3}):(\d{2})\b")
_SECOND = re.compile(
    r"\b(?:at|around|about)\s+(?:second\s+(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*s(?:econds?)?)\b"
)
_LAST = re.compile(
    rf"\b(?:in|during|within|over) the (?:last|past)\s+(?:{_AMOUNT}|(second|minute|hour))"
)
_BEGINNING = re.compile(
    r"\b(?:at|in) the (?:very )?(?:beginning|start)\b|\bat first\b|\binitially\b"
)
_JUST = re.compile(r"\bjust now\b|\ba moment ago\b|\bjust\b")


def _amount(number: str, unit: str, more: str | None, more_unit: str | None) -> float:
    def value(word: str) -> float:
        return float(word) if word[0].isdigit() else float(_NUMBERS[word])

    size = _SECONDS[unit.rstrip("s") or "s"]
    total = value(number) * size
    if more == "a half":
        return total + 0.5 * size
    if more and more_unit:
        return total + value(more) * _SECONDS[more_unit.rstrip("s") or "s"]
    return total


def _around(second: float, back: float, now: float) -> Span:
    """Some slack: people are as exact as what they name is near."""
    slack = 1.0 if back < 45 else 2.0
    return max(0.0, second - slack), min(now, max(0.0, second + slack))


def _moment(text: str, now: float) -> tuple[float, re.Match[str]] | None:
    """The second that a text names, which may lie before the beginning or after now."""
    if found := _AGO.search(text):
        return now - _amount(found[1], found[2], found[3], found[4]), found
    if found := _CLOCK.search(text):
        return 3600.0 * int(found[1] or 0) + 60.0 * int(found[2]) + int(found[3]), found
    if found := _SECOND.search(text):
        return float(found[1] or found[2]), found
    return None


def named_second(text: str, now: float) -> float | None:
    """The one second that a question names ("a minute ago", "at 1:30"), there or not: below 0 it
    lies before the stream began. None where it names none, or a longer time."""
    named = _moment(" ".join(text.lower().split()), now)
    return None if named is None else named[0]


def find_span(text: str, now: float) -> tuple[Span | None, str]:
    """The seconds that `text` names, and the text without the words that name them.

    Args:
        now: second of the stream at which it is asked.

    Returns:
        (start, end) within 0 .. now, or None where no time is named; and what is left of the text,
        in lower case.
    """
    text = " ".join(text.lower().split())
    found: re.Match[str] | None
    if named := _moment(text, now):
        second, found = named
        span = _around(second, now - second, now)
    elif found := _LAST.search(text):
        unit = found[5]
        back = _SECONDS[unit] if unit else _amount(found[1], found[2], found[3], found[4])
        span = (max(0.0, now - back), now)
    elif found := _BEGINNING.search(text):
        span = (0.0, min(now, 2.0))
    elif found := _JUST.search(text):
        span = (max(0.0, now - 3.0), now)
    else:
        return None, text
    rest = " ".join((text[: found.start()] + " " + text[found.end() :]).split())
    return (min(span[0], now), span[1]), rest


def parse_span(text: str, now: float) -> Span | None:
    """The seconds that a question's words name; None where they name none (see `find_span`)."""
    return find_span(text, now)[0]
