"""Who may talk to this server: a token on every request, and no foreign page on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import picture_routes
from .pictures import MAX_BYTES
from .settings import ServerSettings, is_loopback
from .viewers import GUEST, Pass

COOKIE = "millrace_access"
MAX_BODY = 1 << 18
"""Largest accepted request body under /api/v1, in bytes; an SDP offer has a few thousand."""
LARGER = {picture_routes.PATH: MAX_BYTES}
"""Where a body may be larger than that."""
GRADIO_NEEDS = ("/gradio_api/info", "/gradio_api/heartbeat/", "/gradio_api/startup-events")
"""All that our page uses of Gradio's own interface. The rest of it (uploads, files by path, proxy,
run history, monitoring) is closed: nothing here calls it, so nobody else shall."""
GRADIO_OWN = ("/gradio_api", "/monitoring", "/login", "/logout")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"frame-ancestors 'self'"),
)
"""On every answer; the referrer would tell other sites the address."""


class Gate:
    """ASGI middleware in front of everything, pages, static files and websockets included.

    Host: a page of another site can make a browser that runs on this machine call
    127.0.0.1 under a name of its own (DNS rebinding), so on loopback only loopback names pass.
    Origin: a request that a browser sends on behalf of another site is refused.
    Token: accepted as `Authorization: Bearer`, as the cookie, or once as `?token=`, which sets the
    cookie and redirects to the address without it so that it stays out of the history.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        own = (Pass("", settings.token),) if settings.token else ()
        self._passes = {cookie_value(one.token): one for one in (*own, *settings.passes)}
        # Without a token of its own a server on loopback takes guests too.
        self._guests = not settings.token and is_loopback(settings.host)
        self._check_host = is_loopback(settings.host)
        self._hosts = {h.lower() for h in settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._foreign(headers)
        if refusal:
            await _refuse(scope, send, 403, refusal)
        elif _too_large(scope, headers):
            most = _most(scope)
            await _refuse(scope, send, 413, f"the request is larger than {most} bytes")
        elif self._passes and scope["type"] == "http" and (given := _query_token(scope)):
            await self._log_in(scope, send, given)
        elif (shown := self._shown(headers)) is not None or self._guests:
            scope.setdefault("state", {})["pass"] = shown or GUEST
            await self._admit(scope, receive, send)
        else:
            await _refuse(scope, send, 401, "this server asks for its token", headers)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(GRADIO_OWN) and not path.startswith(GRADIO_NEEDS):
            await _refuse(scope, send, 404, "there is no such page")
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        bounded = path.startswith("/api/")
        await self._app(
            scope, _bounded(receive, _most(scope)) if bounded else receive, with_headers
        )

    def _foreign(self, headers: dict[str, str]) -> str:
        """Why a request comes from a foreign page; empty when it does not."""
        host = _name(headers.get("host", ""))
        if self._check_host and not (is_loopback(host) or host in self._hosts):
            return (
                f"this server does not answer to the name {host[:100]!r}; "
                "call it 127.0.0.1 or localhost, or allow the name with --allowed-host"
            )
        origin = headers.get("origin")
        if origin is None:
            return ""
        theirs = urlsplit(origin).netloc.lower()
        if theirs == headers.get("host", "").lower() or _name(theirs) in self._hosts:
            return ""
        return "requests from pages of other sites are refused"

    def _shown(self, headers: dict[str, str]) -> Pass | None:
        """What the request's token is good for; None when it shows none that is known."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and (known := self._of(cookie_value(given.strip()))):
            return known
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return self._of(cookie.value) if cookie is not None else None

    def _of(self, value: str) -> Pass | None:
        """All are compared, each in the same time, so that nothing can be learned from it."""
        found = [one for mine, one in self._passes.items() if _same(value, mine)]
        return found[0] if found else None

    async def _log_in(self, scope: Scope, send: Send, given: str) -> None:
        value = cookie_value(given)
        if self._of(value) is None:
            await _refuse(scope, send, 401, "the token is wrong", dict(accept="text/html"))
            return
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        rest = urlencode([(k, v) for k, v in pairs if k != "token"])
        # A path that begins with two slashes would be read as another host.
        path = "/" + scope["path"].lstrip("/")
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"
        headers = [
            (b"location", (path + (f"?{rest}" if rest else "")).encode("ascii", "ignore")),
            (b"set-cookie", cookie.encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def cookie_value(token: str) -> str:
    """What the cookie holds: not the token itself, so that a leaked cookie is not the password."""
    return hmac.new(token.encode(), b"millrace-access-cookie", hashlib.sha256).hexdigest()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _name(netloc: str) -> str:
    """The host of `host:port` or `[v6]:port`, lower case."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0].lower()
    return netloc.rpartition(":")[0].lower() if ":" in netloc else netloc.lower()


def _too_large(scope: Scope, headers: dict[str, str]) -> bool:
    length = headers.get("content-length", "0")
    return bool(
        scope["type"] == "http"
        and scope["path"].startswith("/api/")
        and (not length.isdigit() or int(length) > _most(scope))
    )


def _most(scope: Scope) -> int:
    """Bytes that the body of a request may have."""
    return LARGER.get(scope["path"], MAX_BODY)


def _bounded(receive: Receive, most: int) -> Receive:
    """Ends a body that grows past the limit without having said so ahead (chunked transfer)."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= most else {"type": "http.disconnect"}

    return limited


def _query_token(scope: Scope) -> str | None:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    return query.get("token")


async def _refuse(
    scope: Scope, send: Send, status: int, why: str, headers: dict[str, str] | None = None
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    wants_page = "text/html" in (headers or {}).get("accept", "")
    if status == 401 and wants_page:
        kind, body = "text/html; charset=utf-8", _login_page(why)
    else:
        kind, body = "application/json", json.dumps({"error": why}).encode()
    fields: Iterable[tuple[bytes, Any]] = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if status == 401:
        fields = [*fields, (b"www-authenticate", b'Bearer realm="millrace"')]
    await send({"type": "http.response.start", "status": status, "headers": list(fields)})
    await send({"type": "http.response.body", "body": body})


def _login_page(why: str) -> bytes:
    page = files(__package__).joinpath("login.html").read_text("utf-8")
    return page.replace("{{why}}", why[:1].upper() + why[1:] + ".").encode()
