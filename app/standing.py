"""A viewer's wish and alerts, which hold whichever captions serve him."""

from __future__ import annotations

from ..streaming.captions.host import CaptionRefused, CaptionSession
from ..streaming.captions.limits import MAX_CONDITION, MAX_WISH
from .answers import Send


class Standing:
    """A viewer's standing wish and alerts.

    Args:
        send: sends a message to the page.

    Attributes:
        wish: what to tell of; "" for everything.
        alerts: conditions by their numbers in the present session.
    """

    def __init__(self, send: Send) -> None:
        self.wish = ""
        self.alerts: dict[int, str] = {}
        self._send = send

    def want(self, wish: str, session: CaptionSession | None) -> None:
        """Another wish, from now on.

        Raises:
            CaptionRefused: it is too long.
        """
        self.wish = fitting(wish, MAX_WISH, "a wish", empty=True)
        if session is not None:
            session.instruct(self.wish)

    def watch(self, text: str, session: CaptionSession) -> int:
        """Set an alert. Returns its number.

        Raises:
            CaptionRefused: says what to do.
        """
        text = fitting(text, MAX_CONDITION, "a condition")
        number = session.watch(text)
        self.alerts[number] = text
        self.tell()
        return number

    def unwatch(self, alert: int, session: CaptionSession | None) -> bool:
        """Remove an alert. Returns whether there was one."""
        known = self.alerts.pop(alert, None) is not None
        if known and session is not None:
            session.unwatch(alert)
        self.tell()
        return known

    def hold(self, session: CaptionSession, told: str) -> None:
        """A session takes the place of another one, which ended or was never there.

        Args:
            told: the wish that it was opened with.
        """
        if self.wish != told:
            session.instruct(self.wish)
        if self.alerts:
            self.alerts = {session.watch(text): text for text in self.alerts.values()}
            self.tell()

    def tell(self) -> None:
        """List the alerts."""
        listed = [{"alert": number, "text": text} for number, text in self.alerts.items()]
        self._send("alerts", list=listed)


def fitting(text: str, most: int, what: str, empty: bool = False) -> str:
    """The text in one line.

    Raises:
        CaptionRefused: empty or too long.
    """
    line = " ".join(text.split())
    if not line and not empty:
        raise CaptionRefused(f"{what} needs words")
    if len(line) > most:
        raise CaptionRefused(f"{what} of {len(line)} characters; the most is {most}")
    return line
