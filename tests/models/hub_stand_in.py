"""A stand-in of the model hub: a small HTTP server that answers as huggingface.co does, as far as a download needs it.

It lists a repository's files with sizes and checksums, redirects large files to a second origin (the hub's CDN), knows
ranges, and can be gated, break off, stall, or damage what it sends.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = 100_000


@dataclass
class HubStandIn:
    """Files and behaviour of the stand-in; tests change the fields while it runs."""

    files: dict[str, bytes]
    model_id: str = "org/tiny"
    url: str = ""
    revisions: tuple[str, ...] = ("main",)
    token: str = ""
    """The token that a gated model requires; empty: the model is not gated."""
    claimed_sizes: dict[str, int] = field(default_factory=dict)
    break_after: int = 0
    """Close the connection after this many bytes of a large file …"""
    breaks: int = 0
    """… this many times."""
    stall_after: int = 0
    """Stop sending after this many bytes of a large file, once, and keep the connection open."""
    stalled: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    damage: bool = False
    rejects_tokens: bool = False
    """Reject every token as invalid."""
    status: int = 0
    """Answer everything with this status."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Every request: method, path, headers in lower case."""

    def fetched(self, name: str) -> list[dict[str, str]]:
        """The headers of every request for a file's bytes, at the first origin or, for a large file, at the second."""
        sha = hashlib.sha256(self.files[name]).hexdigest()
        large = len(self.files[name]) >= LARGE
        return [h for method, path, h in self.requests if method == "GET" and path.endswith(sha if large else f"/{name}")]


def serve(hub: HubStandIn) -> ThreadingHTTPServer:
    """Serve it on a free port of the loopback, in a thread; `hub.url` is its address.  The caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
            if hub.status:
                return self.send(hub.status, b"")
            if hub.rejects_tokens and self.headers["Authorization"]:
                return self.send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
            if path.startswith("/cdn/"):
                content = next(c for c in hub.files.values() if hashlib.sha256(c).hexdigest() == path[5:])
                return self.send_file(content)
            revisions = f"/api/models/{hub.model_id}/revision/"
            if path.startswith(revisions):
                if path.removeprefix(revisions) not in hub.revisions:
                    return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return self.send(200, json.dumps(_listing(hub)).encode())
            resolve = f"/{hub.model_id}/resolve/{COMMIT}/"
            if not path.startswith(resolve):
                return self.send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            if hub.token and self.headers["Authorization"] != f"Bearer {hub.token}":
                status = 403 if self.headers["Authorization"] else 401
                return self.send(status, b"{}", {"X-Error-Code": "GatedRepo"})
            content = hub.files[path.removeprefix(resolve)]
            if len(content) < LARGE:
                return self.send(200, content, {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": COMMIT})
            sha = hashlib.sha256(content).hexdigest()
            # Another host name is another origin; the client must not send its token there.
            elsewhere = hub.url.replace("127.0.0.1", "localhost")
            more = {"X-Linked-ETag": f'"{sha}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": COMMIT}
            return self.send(302, b"", {"Location": f"{elsewhere}/cdn/{sha}", **more})

        def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def send_file(self, content: bytes) -> None:
            start, status = 0, 200
            if hub.ranges and (byte_range := self.headers["Range"]):
                start, status = int(byte_range.removeprefix("bytes=").rstrip("-")), 206
            body = content[start:]
            if hub.damage:
                body = bytes(len(body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if hub.breaks:
                hub.breaks -= 1
                self.wfile.write(body[: hub.break_after])
                self.close_connection = True
            elif hub.stall_after:
                head = body[: hub.stall_after]
                hub.stall_after = 0
                self.wfile.write(head)
                self.wfile.flush()
                hub.stalled.set()
                hub.closing.wait()
                self.close_connection = True
            else:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _listing(hub: HubStandIn) -> dict[str, Any]:
    siblings = []
    for name, content in hub.files.items():
        size = hub.claimed_sizes.get(name, len(content))
        entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": _blob(content)}
        if len(content) >= LARGE:
            entry["lfs"] = {"size": size, "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
        siblings.append(entry)
    return {"id": hub.model_id, "modelId": hub.model_id, "sha": COMMIT, "gated": bool(hub.token), "siblings": siblings}
