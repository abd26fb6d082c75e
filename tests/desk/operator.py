"""An operator's client of the desk over HTTP, and a sentence that the desk must not show without being asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.owner.played_owner import PlayedOwner
from wmkml.access.pin import load_pin

SECRET = "Mein geheimer Satz"


class DeskClient:
    """An operator's HTTP client with its session."""

    def __init__(self, owner: PlayedOwner) -> None:
        self.owner = owner
        self.http = httpx.Client(verify=False, base_url=owner.address, timeout=60)

    def login(self, pin: str | None = None, **headers: str) -> httpx.Response:
        pin = load_pin(self.owner.cluster.paths) if pin is None else pin
        return self.http.post("/desk/login", json={"pin": pin}, headers=headers)

    def state(self) -> dict[str, Any]:
        return dict(self.http.get("/desk/state").raise_for_status().json())

    def press(self, action: str, body: Any = None) -> dict[str, Any]:
        reply = self.http.post(f"/desk/{action}", json=body)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def refusal(self, action: str, status: int, body: Any = None) -> str:
        """The sentence with which an action is refused."""
        reply = self.http.post(f"/desk/{action}", json=body)
        assert reply.status_code == status, reply.text
        return str(reply.json()["error"])

    def light(self, name: str) -> tuple[str, str]:
        [light] = [light for light in self.state()["lights"] if light["name"] == name]
        return light["light"], light["code"]


@contextmanager
def at_the_desk(owner: PlayedOwner) -> Iterator[DeskClient]:
    """A desk that is logged in; its connection is closed at the end."""
    desk = DeskClient(owner)
    assert desk.login().status_code == 200
    yield desk
    desk.http.close()
