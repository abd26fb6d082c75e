"""A stand-in of the Hugging Face hub for data sets: a small HTTP server that answers as the hub does, as far as streaming needs.

It lists one data set's files and serves their bytes, by ranges too.  Everything else it does not know.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class DataHub:
    """The files of one data set by path, and every request: method and path."""

    name: str
    files: Mapping[str, bytes]
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serving(hub: DataHub) -> Iterator[DataHub]:
    """Serve it on a free port of the loopback, in threads; `hub.url` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

        def answer(self, body: bytes = b"") -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            api, tree = f"/api/datasets/{hub.name}", f"/api/datasets/{hub.name}/tree/"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                return self.send_json(_info(hub))
            if path.startswith(tree):
                folder = path.removeprefix(tree).partition("/")[2]
                return self.send_json(_entries(hub, folder))
            if path.startswith(f"{api}/paths-info/"):
                wanted = json.loads(body)["paths"]
                return self.send_json([entry for entry in _entries(hub, "") if entry["path"] in wanted])
            for revision in ("main", COMMIT):
                name = path.removeprefix(f"/datasets/{hub.name}/resolve/{revision}/")
                if name in hub.files:
                    return self.send_file(hub.files[name])
            known = path.startswith((api, f"/datasets/{hub.name}/"))
            self.send(
                404, b"{}", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound", "X-Repo-Commit": COMMIT}
            )

        def send_json(self, value: object) -> None:
            self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def send_file(self, content: bytes) -> None:
            headers = {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if not (byte_range := self.headers["Range"]):
                return self.send(200, content, headers)
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            self.send(206, content[start : end + 1], headers)

        def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _info(hub: DataHub) -> dict[str, Any]:
    siblings = [{"rfilename": name} for name in hub.files]
    return {"id": hub.name, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
            "tags": [], "siblings": siblings, "lastModified": "2026-01-01T00:00:00.000Z"}  # fmt: skip


def _entries(hub: DataHub, folder: str) -> list[dict[str, Any]]:
    """Every file below a folder, and the folders in between, as a recursive listing has them."""
    files = {name: content for name, content in hub.files.items() if name.startswith(folder)}
    folders = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    return [{"type": "directory", "oid": _blob(name.encode()), "size": 0, "path": name} for name in sorted(folders)] + [
        {"type": "file", "oid": _blob(content), "size": len(content), "path": name} for name, content in files.items()
    ]
