"""Who is watching: users, their classes of service, and the browsers that they come with.

A user is a browser, not a tab: the page gives it a random id in a cookie that scripts cannot read,
so eight tabs have the share of one. Where a request shows a token, the user is token and browser
together. Class and weight belong to the token and stand in the server's own file: nothing that a
client sends changes them.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Literal, get_args

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import CallError

Service = Literal["guaranteed", "standard", "best-effort"]
COOKIE = "millrace_viewer"
YEAR_S = 365 * 24 * 3600
WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{22,64}")


@dataclass(frozen=True, slots=True)
class Pass:
    """What a token is good for.

    Attributes:
        name: of the user or group that has it.
        token: what they show.
        service: whose quality goes down last, and first.
        weight: of their share.
    """

    name: str
    token: str
    service: Service = "standard"
    weight: float = 1.0


GUEST = Pass("", "")
"""Whoever shows no token, where none is asked for."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose session it is."""

    user: str
    service: Service = "standard"
    weight: float = 1.0


def viewer_of(scope: Scope) -> Viewer:
    """Who sends this request, as `Viewers` found out."""
    found: Viewer = scope["state"]["viewer"]
    return found


class Viewers:
    """ASGI middleware behind the gate: names the viewer of each request; the page sets the cookie.

    A client without cookies is known by its address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        browser = _cookie(scope)
        shown: Pass = scope.setdefault("state", {}).get("pass", GUEST)
        who = browser or f"at {(scope.get('client') or ('unknown',))[0]}"
        user = f"{shown.name}:{who}" if shown.name else who
        scope["state"]["viewer"] = Viewer(user, shown.service, shown.weight)
        fresh = not browser and scope["path"] == "/" and scope["method"] == "GET"

        async def with_cookie(message: Message) -> None:
            if fresh and message["type"] == "http.response.start":
                fields = [*message.get("headers", ()), (b"set-cookie", _new_cookie(scope))]
                message = {**message, "headers": fields}
            await send(message)

        await self._app(scope, receive, with_cookie)


def load_passes(path: Path) -> tuple[Pass, ...]:
    """Read the users' file: a TOML table for each name.

    [alice]
    token = "a long secret"
    service = "guaranteed"      # or standard, the default, or best-effort
    weight = 2                  # of the share; 1 by default

    Raises:
        CallError: unreadable, or an entry that makes no sense; names it.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CallError(f"users' file {path}: {error}") from error
    found = tuple(_pass(path, name, table) for name, table in tables.items())
    if len({one.token for one in found}) < len(found):
        raise CallError(f"users' file {path}: two users have the same token")
    return found


def _pass(path: Path, name: str, table: Any) -> Pass:
    def wrong(what: str) -> CallError:
        return CallError(f"users' file {path}: [{name}] {what}")

    if not isinstance(table, Mapping):
        raise wrong("is no table; write [name], and token = ... below it")
    if unknown := set(table) - {"token", "service", "weight"}:
        raise wrong(f"{min(unknown)}: no such setting; there are token, service and weight")
    token, service, weight = (
        table.get("token"),
        table.get("service", "standard"),
        table.get("weight", 1),
    )
    if not isinstance(token, str) or len(token) < 8:
        raise wrong("token: give a text of at least 8 characters")
    if service not in get_args(Service):
        raise wrong(f"service: {service!r} is not one of {', '.join(get_args(Service))}")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= 1000:
        raise wrong(f"weight: {weight!r} is not a number above 0, up to 1000")
    return Pass(name, token, service, float(weight))


def _cookie(scope: Scope) -> str:
    """The browser's id, or nothing when it has none that looks like ours."""
    text = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    given = morsel.value if morsel else ""
    return given if WELL_FORMED.fullmatch(given) else ""


def _new_cookie(scope: Scope) -> bytes:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    value = secrets.token_urlsafe(18)
    return (f"{COOKIE}={value}; Path=/; Max-Age={YEAR_S}; HttpOnly; SameSite=Lax{secure}").encode()
