"""A hub of models on loopback, with the faults that a real one shows."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STATUS = {"401": 401, "403": 403, "gated": 403, "404": 404, "500": 500, "429": 429}


@dataclass
class FakeHub:
    """Repositories by name, each a mapping of paths to contents.

    Attributes:
        faults: what goes wrong with the next requests of a path (or of a repository's listing, by
            its name), in turn: "cut" sends half and hangs up, "stall" sends half and nothing more,
            "wrong" alters a byte, "short" and "long" differ in length from the listing, a status
            refuses.
        sizes: what the listing says of a path, instead of the truth.
        small: paths that the hub keeps as plain git files and tells no sha256 of.
        requests: (path, Range header) of each file that was asked for.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    small: set[str] = field(default_factory=set)
    licence: str = "apache-2.0"
    requests: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def listing(self, repo: str) -> bytes:
        siblings = []
        for path, content in self.repos[repo].items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry: dict[str, object] = {
                "rfilename": path,
                "size": self.sizes.get(path, len(content)),
                "blobId": blob,
            }
            if path not in self.small:
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        tags = [f"license:{self.licence}"] if self.licence else []
        return json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings, "tags": tags}).encode()

    def fault(self, name: str) -> str:
        waiting = self.faults.get(name)
        return waiting.pop(0) if waiting else ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        parts = urllib.parse.unquote(self.path.partition("?")[0]).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._list("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif parts[0] == "api":
            self._refuse("404")
        else:
            self._file("/".join(parts[:2]), "/".join(parts[4:]))

    def _list(self, repo: str, revision: str) -> None:
        fault = self.hub.fault(repo)
        if fault in STATUS:
            self._refuse(fault)
        elif repo not in self.hub.repos:
            # As the real one does: it does not tell whether there is such a private one.
            self._refuse("401", "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._refuse("404", "RevisionNotFound")
        else:
            self._send(self.hub.listing(repo), 200)

    def _file(self, repo: str, path: str) -> None:
        wanted = self.headers.get("Range", "")
        self.hub.requests.append((path, wanted))
        content, fault = self.hub.repos[repo].get(path), self.hub.fault(path)
        if fault in STATUS:
            self._refuse(fault)
            return
        if content is None:
            self._refuse("404", "EntryNotFound")
            return
        if fault == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        content = {"short": content[:-7], "long": content + b"1234567"}.get(fault, content)
        begin = int(wanted.removeprefix("bytes=").partition("-")[0] or 0) if wanted else 0
        body = content[begin:]
        if fault in ("cut", "stall"):
            self._head(206 if wanted else 200, len(body))
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if fault == "stall":
                self.hub.closing.wait(20)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        headers = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
        self._send(body, 206 if wanted else 200, headers if wanted else {})

    def _refuse(self, fault: str, code: str = "") -> None:
        code = "GatedRepo" if fault == "gated" else code
        self._send(b"{}", STATUS[fault], {"X-Error-Code": code} if code else {})

    def _send(self, body: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(body), headers)
        self.wfile.write(body)

    def _head(self, status: int, size: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub at `hub.address`, while the block runs."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
