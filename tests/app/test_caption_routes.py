"""Captions, questions, alerts and thumbnails over HTTP."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from millrace.app.caption_desk import BURST, CaptionDesk
from millrace.app.server import create_app
from millrace.app.settings import ServerSettings
from millrace.app.viewers import COOKIE
from millrace.streaming.captions.host import AnswerPart
from millrace.streaming.captions.track import parse_srt, parse_webvtt

from .caption_fakes import FakeCaptionHost, FakeCaptions
from .rig import INFO, Client, EchoHost

LOCAL = "http://127.0.0.1:7860"
STRANGER = {"Cookie": f"{COOKIE}={'x' * 24}"}


@pytest.fixture(scope="module")
def offer() -> str:
    async def make() -> str:
        client = Client()
        sdp = await client.offer()
        await client.close()
        return sdp

    return asyncio.run(make())


class Web:
    """A client with one open session."""

    def __init__(self, client: TestClient, host: FakeCaptionHost, offer: str) -> None:
        self.client, self.host = client, host
        answer = client.post("/api/v1/sessions", json={"sdp": offer})
        self.url = f"/api/v1/sessions/{answer.json()['id']}"

    def on(self) -> FakeCaptions:
        told = self.client.put(f"{self.url}/captions", json={"on": True}).json()
        assert (told["state"], told["on"]) == ("live", True)
        return self.host.sessions[-1]


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[TestClient, FakeCaptionHost]]:
    host = FakeCaptionHost(rooms=100)
    desk = CaptionDesk(host)
    app = create_app(EchoHost(rooms=100), ServerSettings(), INFO, desk)
    with TestClient(app, base_url=LOCAL) as client:
        yield client, host
    desk.stop()


@pytest.fixture
def web(site: tuple[TestClient, FakeCaptionHost], offer: str) -> Web:
    """A browser of its own, with its own ration of questions."""
    client, host = site
    client.cookies.clear()
    client.cookies.set(COOKIE, secrets.token_urlsafe(18))
    host.answer = "a red circle"
    return Web(client, host, offer)


def events(text: str) -> list[dict[str, Any]]:
    """The data of server-sent events, all named `answer`."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    assert all(block[0] == "event: answer" for block in blocks)
    return [json.loads(block[1].removeprefix("data: ")) for block in blocks]


def test_the_model_is_described_before_any_session(web: Web) -> None:
    for path in ("captions", "captions?wait=1"):
        told = web.client.get(f"/api/v1/{path}").json()
        assert told["state"] == "ready" and told["info"]["title"] == "Fake teller"
    assert web.client.get("/api/v1/info").json()["captions"] == told


def test_openapi_describes_them(web: Web) -> None:
    paths = web.client.get("/api/v1/openapi.json").json()["paths"]
    base = "/api/v1/sessions/{id}"
    assert set(paths[f"{base}/captions"]) == {"get", "put"}
    assert set(paths[f"{base}/questions"]) == {"post"}
    assert set(paths[f"{base}/alerts"]) == {"get", "post"}
    assert set(paths[f"{base}/alerts/{{alert}}"]) == {"delete"}
    assert set(paths[f"{base}/thumbnails"]) == {"get"}


def test_the_track_is_read_as_json_and_as_files(web: Web) -> None:
    before = web.client.get(f"{web.url}/captions").json()
    assert (before["state"], before["cues"], before["until"]) == ("off", [], None)
    session = web.on()
    session.say("a red circle & more", 1.5)
    session.say("there is a red circle", 3.0, kind="alert")
    session.know(4.5)
    told = web.client.get(f"{web.url}/captions").json()
    assert told["until"] == 4.5
    assert [cue["text"] for cue in told["cues"]] == ["a red circle & more", "there is a red circle"]
    vtt = web.client.get(f"{web.url}/captions", params={"format": "vtt"})
    assert vtt.headers["content-type"].startswith("text/vtt")
    assert "attachment" in vtt.headers["content-disposition"]
    assert [cue.kind for cue in parse_webvtt(vtt.text)] == ["caption", "alert"]
    srt = web.client.get(f"{web.url}/captions", params={"format": "srt"})
    assert [cue.start for cue in parse_srt(srt.text)] == [1.5, 3.0]
    assert web.client.get(f"{web.url}/captions", params={"format": "doc"}).status_code == 422


def test_wishes_are_taken_and_checked(web: Web) -> None:
    told = web.client.put(
        f"{web.url}/captions", json={"of": "styled", "instruction": "colours"}
    ).json()
    assert (told["of"], told["instruction"], told["on"]) == ("styled", "colours", False)
    for body in ({"of": "both"}, {"on": "maybe"}, {"instruction": "x" * 501}, {"more": 1}):
        assert web.client.put(f"{web.url}/captions", json=body).status_code == 422


def test_an_answer_comes_whole_or_as_a_stream(web: Web) -> None:
    early = web.client.post(f"{web.url}/questions", json={"text": "What is there?"})
    assert early.status_code == 409 and "Turn captions on" in early.json()["error"]
    session = web.on()
    whole = web.client.post(
        f"{web.url}/questions", params={"wait": 1}, json={"text": "What is there?", "at": 2.5}
    )
    assert whole.json() == {
        "question": 1, "text": "a red circle ", "span": [2.0, 4.5], "looks": [2.0, 3.0, 4.0],
    }  # fmt: skip
    assert session.asked == [("What is there?", 2.5)]
    streamed = web.client.post(f"{web.url}/questions", json={"text": "What is there?"})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    parts = events(streamed.text)
    assert "".join(part["text"] for part in parts) == "a red circle "
    assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1]["span"] == [2.0, 4.5]


def test_words_come_one_by_one_while_the_request_is_open(web: Web) -> None:
    web.host.answer = None
    session = web.on()
    asked = threading.Event()
    take = session.ask

    def ask(question: str, at: float | None = None) -> int:
        number = take(question, at)
        asked.set()
        return number

    session.ask = ask  # type: ignore[method-assign]
    answers: list[Any] = []
    url = f"{web.url}/questions"
    request = threading.Thread(
        target=lambda: answers.append(web.client.post(url, json={"text": "And now?"}))
    )
    request.start()
    assert asked.wait(10)
    session.tell(AnswerPart(1, "two "))
    session.tell(AnswerPart(1, "squares"))
    session.tell(AnswerPart(1, "", done=True))
    request.join(20)
    parts = events(answers[0].text)
    assert "".join(part["text"] for part in parts) == "two squares" and parts[-1]["span"] is None


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "x" * 10_000}, "text"),
        ({"text": "x", "at": -1}, "at"),
        ({"text": "x", "at": "soon"}, "at"),
        ({"text": "x", "file": "/etc/passwd"}, "file"),
    ],
)
def test_bad_questions_get_a_clear_text(web: Web, body: dict[str, Any], part: str) -> None:
    answer = web.client.post(f"{web.url}/questions", json=body)
    assert answer.status_code == 422 and part in answer.json()["error"]
    assert len(answer.text) < 300


def test_too_many_questions_are_told_when_to_come_back(web: Web) -> None:
    web.on()
    statuses = [
        web.client.post(f"{web.url}/questions", params={"wait": 1}, json={"text": "What?"})
        for _ in range(BURST + 1)
    ]
    assert [answer.status_code for answer in statuses] == [200] * BURST + [429]
    assert 1 <= int(statuses[-1].headers["Retry-After"]) <= 4


def test_alerts_are_set_listed_and_removed(web: Web) -> None:
    session = web.on()
    made = web.client.post(f"{web.url}/alerts", json={"text": "a cat comes"})
    assert made.status_code == 201 and made.json()["text"] == "a cat comes"
    assert web.client.get(f"{web.url}/alerts").json() == [made.json()]
    web.client.post(f"{web.url}/alerts", json={"text": "a dog comes"})
    full = web.client.post(f"{web.url}/alerts", json={"text": "a horse comes"})
    assert full.status_code == 409 and "remove one first" in full.json()["error"]
    gone = f"{web.url}/alerts/{made.json()['alert']}"
    assert web.client.delete(gone).status_code == 204
    assert web.client.delete(gone).status_code == 404
    assert list(session.watched.values()) == ["a dog comes"]


def test_thumbnails_are_pictures_or_not_there(web: Web) -> None:
    url = f"{web.url}/thumbnails"
    assert web.client.get(url, params={"time": 1}).status_code == 404
    web.on()
    picture = web.client.get(url, params={"time": 1.5})
    assert picture.headers["content-type"] == "image/jpeg" and picture.content[:2] == b"\xff\xd8"
    assert web.client.get(url, params={"time": 500}).status_code == 404
    for time in ("", "nan", "-1", "1e99", "../secret"):
        assert web.client.get(url, params={"time": time}).status_code == 422, time


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "captions", None),
        ("GET", "captions?format=vtt", None),
        ("PUT", "captions", {"on": False}),
        ("POST", "questions", {"text": "What is there?"}),
        ("GET", "alerts", None),
        ("POST", "alerts", {"text": "a cat comes"}),
        ("DELETE", "alerts/1", None),
        ("GET", "thumbnails?time=1", None),
    ],
)
def test_nobody_elses_session_is_told_of(
    web: Web, method: str, path: str, body: dict[str, Any] | None
) -> None:
    session = web.on()
    session.say("a secret", 1.0)
    session.watch("a secret comes")
    theirs = web.client.request(method, f"{web.url}/{path}", json=body, headers=STRANGER)
    none = web.client.request(method, f"/api/v1/sessions/none/{path}", json=body)
    assert theirs.status_code == none.status_code == 404
    assert theirs.json() == none.json(), "not even that it exists"
    assert session.asked == [] and session.state == "live"
