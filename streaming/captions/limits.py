"""What may be asked, watched for and wished: lengths, and the words of a refusal.

The same for live captions and for files.
"""

from __future__ import annotations

import math

from .alerts import parse_condition
from .host import CaptionRefused

MAX_QUESTION = 1000
MAX_CONDITION = 200
MAX_WISH = 500
"""Characters."""


def question(text: str) -> str:
    """A question in one line.

    Raises:
        CaptionRefused: empty or too long.
    """
    return _checked("question", text, MAX_QUESTION)


def condition(text: str) -> str:
    """What to watch for, without the "tell me when" around it.

    Raises:
        CaptionRefused: empty or too long.
    """
    told = parse_condition(_checked("condition", text, MAX_CONDITION))
    if not told:
        raise CaptionRefused('say what to watch for, "tell me when a person appears" say')
    return told


def wish(text: str) -> str:
    """A standing wish in one line; empty for none.

    Raises:
        CaptionRefused: too long.
    """
    told = " ".join(text.split())
    if len(told) > MAX_WISH:
        raise CaptionRefused(f"a wish has at most {MAX_WISH} characters; this has {len(told)}")
    return told


def second_of_file(at: float) -> None:
    """
    Raises:
        CaptionRefused: no file has this second.
    """
    if not (math.isfinite(at) and at >= 0):
        raise CaptionRefused(f"second {at} cannot be asked about; give one from 0 on")


def _checked(what: str, text: str, most: int) -> str:
    if len(text) > most:
        raise CaptionRefused(f"a {what} has at most {most} characters; this has {len(text)}")
    text = " ".join(text.split())
    if not text:
        raise CaptionRefused(f"the {what} is empty")
    return text
