"""The HTTP interface: what it offers, what it refuses, and who may call it."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from fastapi.testclient import TestClient
from millrace.app import routes
from millrace.app.ice import IceServer, peer_configuration
from millrace.app.server import PortInUse, bind, collector_at_rest, create_app
from millrace.app.settings import ServerSettings, is_loopback
from starlette.websockets import WebSocketDisconnect

from .rig import INFO, Client, EchoHost

LOCAL = "http://127.0.0.1:7860"
TOKEN = "correct horse"


@pytest.fixture(scope="module")
def web() -> Iterator[TestClient]:
    app = create_app(EchoHost(rooms=1), ServerSettings(), INFO)
    with TestClient(app, base_url=LOCAL) as client:
        yield client


@pytest.fixture(scope="module")
def guarded() -> Iterator[TestClient]:
    settings = ServerSettings(host="0.0.0.0", token=TOKEN)
    with TestClient(create_app(EchoHost(), settings, INFO), base_url="http://far:7860") as client:
        yield client


@pytest.fixture(scope="module")
def offer() -> str:
    async def make() -> str:
        client = Client()
        sdp = await client.offer()
        await client.close()
        return sdp

    return asyncio.run(make())


def test_info_tells_what_a_page_needs(web: TestClient) -> None:
    info = web.get("/api/v1/info").json()
    assert [c["name"] for c in info["controls"]] == ["prompt", "strength", "steps", "seed"]
    assert info["device"] == {"name": "cpu", "dtype": "float32", "threads": 1}
    assert info["choices"] == list(INFO.choices)


def test_openapi_describes_the_sessions(web: TestClient) -> None:
    paths = web.get("/api/v1/openapi.json").json()["paths"]
    assert set(paths["/api/v1/sessions"]) == {"post", "get"}
    assert set(paths["/api/v1/sessions/{id}"]) == {"get", "patch", "delete"}
    assert not [path for path in paths if path.startswith("/client")]


def test_a_session_opens_changes_and_closes(web: TestClient, offer: str) -> None:
    body = {"sdp": offer, "width": 320, "height": 256, "controls": {"prompt": "bold"}}
    answer = web.post("/api/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    assert "x-google-start-bitrate" in answer.json()["sdp"]
    url = f"/api/v1/sessions/{answer.json()['id']}"
    assert web.get("/api/v1/sessions").json()[0]["width"] == 320
    full = web.post("/api/v1/sessions", json={"sdp": offer})
    assert full.status_code == 503 and "taken" in full.json()["error"]
    assert full.headers["Retry-After"] == "5"
    changed = web.patch(url, json={"controls": {"strength": 0.25}, "reset": True}).json()
    assert changed["epoch"] == 3 and changed["controls"]["strength"] == 0.25
    assert web.patch(url, json={"controls": {"strength": 9}}).status_code == 400
    assert web.get(url).json()["stats"]["drops"]["superseded"] == 1
    assert web.delete(url).status_code == 204
    assert web.delete(url).status_code == 404
    assert web.get("/api/v1/sessions").json() == []


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"{", 422, "JSON"),
        (b"[]", 422, "dictionary"),
        (b"{}", 422, "sdp"),
        (b'{"sdp": "hello"}', 400, "sections none"),
        (b'{"sdp": "v=0", "width": 250}', 400, "multiple of 16; try 256"),
        (b'{"sdp": "v=0", "height": 2048}', 400, "1024"),
        (b'{"sdp": "v=0", "width": 7}', 422, "width"),
        (b'{"sdp": "v=0", "type": "answer"}', 422, "type"),
        (b'{"sdp": "v=0", "surprise": 1}', 422, "surprise"),
        (b'{"sdp": "v=0", "controls": {"prompt": [1]}}', 422, "controls"),
        (b'{"sdp": "' + b"x" * 200_000 + b'"}', 422, "sdp"),
        (b"x" * 300_000, 413, "larger"),
    ],
)
def test_bad_offers_get_a_clear_text(web: TestClient, body: bytes, status: int, part: str) -> None:
    answer = web.post(
        "/api/v1/sessions", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    assert part in answer.json()["error"]
    assert len(answer.text) < 300, "the input is not sent back"


@pytest.mark.parametrize(
    "path",
    ["/api/v1/sessions/none", "/client/server.py", "/client/..%2Fserver.py", "/assets/x.png"],
)
def test_what_is_not_there_is_not_found(web: TestClient, path: str) -> None:
    answer = web.get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "nothing"), ("PATCH", "sessions/none/controls"), ("PUT", "sessions")],
)
def test_an_address_of_no_route_is_refused_in_the_same_form(
    web: TestClient, method: str, path: str
) -> None:
    answer = web.request(method, f"/api/v1/{path}")
    assert answer.status_code == 404
    assert f"no {method} /api/v1/{path}; /api/v1/openapi.json lists" in answer.json()["error"]
    assert "/api/v1/{rest}" not in web.get("/api/v1/openapi.json").json()["paths"]


def test_every_script_and_style_is_served(web: TestClient) -> None:
    here = {f.name for f in files(routes.__package__).iterdir() if f.name.endswith((".js", ".css"))}
    assert here == set(routes.CLIENT)
    for name, kind in routes.CLIENT.items():
        answer = web.get(f"/client/{name}")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)


def test_probes_and_metrics(web: TestClient) -> None:
    assert web.get("/healthz").json() == {"status": "ok"}
    assert web.get("/readyz").status_code == 200
    text = web.get("/metrics").text
    for name in (
        'millrace_sessions{state="live"} 0.0',
        "millrace_sessions_opened_total",
        'millrace_frames_total{direction="received"}',
        'millrace_frame_latency_seconds_bucket{le="0.4"}',
        'millrace_dropped_frames_total{cause="ingest"}',
        'millrace_worker_up{device="0"}',
    ):
        assert name in text


def test_the_page_is_there(web: TestClient) -> None:
    assert "gradio" in web.get("/").text.lower()


# Who may call ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:7860", "evil.example:7860", ""]
)
def test_loopback_answers_to_no_other_name(web: TestClient, host: str) -> None:
    assert web.get("/api/v1/info", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9999", "[::1]:7860", "127.0.0.1"])
def test_loopback_answers_to_its_own_names(web: TestClient, host: str) -> None:
    assert web.get("/api/v1/info", headers={"Host": host}).status_code == 200


def test_other_sites_may_not_call(web: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        answer = web.post("/api/v1/sessions", json={"sdp": "v=0"}, headers={"Origin": origin})
        assert answer.status_code == 403, origin
    same = web.post("/api/v1/sessions", json={"sdp": "v=0"}, headers={"Origin": LOCAL})
    assert same.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/config",
        "/gradio_api/info",
        "/api/v1/info",
        "/api/v1/openapi.json",
        "/client/page.js",
        "/assets/clip.mp4",
        "/healthz",
        "/metrics",
        "/nowhere",
    ],
)
def test_everything_asks_for_the_token(guarded: TestClient, path: str) -> None:
    guarded.cookies.clear()
    assert guarded.get(path).status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert guarded.get(path, headers=wrong).status_code == 401
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get(path, headers=right).status_code != 401


@pytest.mark.parametrize(
    "path",
    ["upload", "file=/etc/passwd", "file/etc/passwd", "proxy=http://x", "queue/data", "runs"],
)
def test_what_the_page_needs_not_of_gradio_is_closed(web: TestClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert web.request(method, f"/gradio_api/{path}").status_code == 404
    assert web.get("/monitoring").status_code == 404


def test_answers_say_how_browsers_may_use_them(web: TestClient) -> None:
    headers = web.get("/healthz").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors" in headers["content-security-policy"]


def test_websockets_ask_for_the_token(guarded: TestClient) -> None:
    guarded.cookies.clear()
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect("/gradio_api/heartbeat/x"):
        pass


def test_a_token_in_the_address_becomes_a_cookie(guarded: TestClient) -> None:
    guarded.cookies.clear()
    answer = guarded.get("/?token=correct+horse&x=1", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?x=1"
    assert "HttpOnly" in answer.headers["set-cookie"] and TOKEN not in answer.headers["set-cookie"]
    assert guarded.get("/api/v1/info").status_code == 200
    guarded.cookies.clear()
    wrong = guarded.get("/?token=wrong", follow_redirects=False)
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers


def test_logging_in_redirects_to_this_server_only(guarded: TestClient) -> None:
    guarded.cookies.clear()
    answer = guarded.get("//evil.example/?token=correct+horse", follow_redirects=False)
    assert not answer.headers.get("location", "").startswith("//")


def test_a_browser_gets_a_page_that_asks_for_the_token(guarded: TestClient) -> None:
    guarded.cookies.clear()
    answer = guarded.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 401 and "<form" in answer.text


# Settings -------------------------------------------------------------------------------------


def test_other_addresses_need_a_token() -> None:
    with pytest.raises(ValueError, match="--token"):
        ServerSettings(host="0.0.0.0")
    assert ServerSettings(host="0.0.0.0", token="x").token == "x"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("192.168.1.4", False), ("example.org", False), ("", False)],
)  # fmt: skip
def test_loopback_addresses(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_loading_is_not_interrupted_by_the_collector() -> None:
    with collector_at_rest():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() > 0
    gc.unfreeze()


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"{port}.*--port"):
            bind(ServerSettings(port=port))


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("stun:stun.example.org", {"urls": ["stun:stun.example.org"]}),
        ("stun:[2001:db8::1]:3478", {"urls": ["stun:[2001:db8::1]:3478"]}),
        (
            "turn:me:p%40ss@turn.example.org:3478?transport=tcp",
            {
                "urls": ["turn:turn.example.org:3478?transport=tcp"],
                "username": "me",
                "credential": "p@ss",
            },
        ),
    ],
)
def test_ice_servers(text: str, entry: dict[str, Any]) -> None:
    server = IceServer.parse(text)
    assert server.for_browser() == entry
    (given,) = peer_configuration((server,)).iceServers or []
    assert given.urls == entry["urls"][0] and given.username == entry.get("username")


@pytest.mark.parametrize("text", ["", "stun:", "http://x", "turn:turn.example.org", "stun:a b"])
def test_wrong_ice_servers(text: str) -> None:
    with pytest.raises(ValueError, match="ICE server"):
        IceServer.parse(text)


def test_no_ice_server_means_none() -> None:
    assert peer_configuration(()).iceServers == []
