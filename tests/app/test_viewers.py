"""A user is a browser, with the class that its token has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from millrace.app.errors import CallError
from millrace.app.server import create_app
from millrace.app.settings import ServerSettings
from millrace.app.viewers import COOKIE, Pass, load_passes
from millrace.streaming.pipeline import StreamConfig

from .rig import INFO, Client, EchoHost

LOCAL = "http://127.0.0.1:7860"
ALICE = Pass("alice", "open sesame", "guaranteed", 2.0)


async def _offer() -> str:
    client = Client()
    sdp = await client.offer()
    await client.close()
    return sdp


@pytest.fixture(scope="module")
def offer() -> str:
    return asyncio.run(_offer())


def opened(web: TestClient, host: EchoHost, offer: str, token: str = "") -> StreamConfig:
    """What a session is opened with."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = web.post("/api/v1/sessions", json={"sdp": offer}, headers=headers)
    assert answer.status_code == 201, answer.text
    (session,) = (s for s in host.sessions() if s.id == answer.json()["id"])
    return session.config


def test_tabs_of_a_browser_are_one_user_and_another_browser_is_another(offer: str) -> None:
    host = EchoHost()
    app = create_app(host, ServerSettings(passes=(ALICE,)), INFO)
    with TestClient(app, base_url=LOCAL) as web:
        without = opened(web, host, offer).user
        assert without == "at testclient", "a client without cookies is known by its address"
        cookie = web.get("/").headers["set-cookie"]
        assert cookie.startswith(COOKIE) and "HttpOnly" in cookie and "SameSite=Lax" in cookie
        assert "set-cookie" not in web.get("/").headers, "it is kept"
        first, second = opened(web, host, offer), opened(web, host, offer)
        assert first.user == second.user != without
        assert (first.service, first.weight) == ("standard", 1.0)
        shown = opened(web, host, offer, "open sesame")
        assert shown.user == f"alice:{first.user}"
        assert (shown.service, shown.weight) == ("guaranteed", 2.0)


def test_any_known_token_opens_a_server_that_asks_for_one() -> None:
    settings = ServerSettings(host="0.0.0.0", passes=(ALICE,))
    with TestClient(create_app(EchoHost(), settings, INFO), base_url="http://far:7860") as web:
        assert web.get("/api/v1/info").status_code == 401
        assert web.get("/api/v1/info", headers={"Authorization": "Bearer wrong"}).status_code == 401
        login = web.get("/?token=open+sesame", follow_redirects=False)
        assert login.status_code == 303
        assert web.get("/api/v1/info").status_code == 200


def test_a_users_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    file.write_text('[alice]\ntoken = "open sesame"\nservice = "guaranteed"\nweight = 2\n')
    assert load_passes(file) == (ALICE,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "users.toml"),
        ("alice = 1", "is no table"),
        ("[a]", "token: give a text"),
        ('[a]\ntoken = "short"', "at least 8"),
        ('[a]\ntoken = "12345678"\nservice = "gold"', "not one of guaranteed"),
        ('[a]\ntoken = "12345678"\nweight = 0', "weight"),
        ('[a]\ntoken = "12345678"\nwieght = 1', "wieght: no such setting"),
        ('[a]\ntoken = "12345678"\n[b]\ntoken = "12345678"', "same token"),
    ],
)
def test_a_wrong_users_file_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "users.toml"
    file.write_text(text)
    with pytest.raises(CallError, match=words):
        load_passes(file)
