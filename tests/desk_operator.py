"""An operator of the desk who speaks HTTP, and a sentence that the desk must not show unasked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.played_owner import PlayedOwner
from wmkml.pin import load_pin

SECRET = "Mein geheimer Satz"


class Desk:
    """An operator who speaks HTTP."""

    def __init__(self, owner: PlayedOwner) -> None:
        self.owner = owner
        self.http = httpx.Client(base_url=owner.address, timeout=60)

    def login(self, pin: str | None = None, **headers: str) -> httpx.Response:
        pin = load_pin(self.owner.house.places) if pin is None else pin
        return self.http.post("/desk/login", json={"pin": pin}, headers=headers)

    def state(self) -> dict[str, Any]:
        return dict(self.http.get("/desk/state").raise_for_status().json())

    def press(self, what: str, body: Any = None) -> dict[str, Any]:
        reply = self.http.post(f"/desk/{what}", json=body)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def refused(self, what: str, status: int, body: Any = None) -> str:
        reply = self.http.post(f"/desk/{what}", json=body)
        assert reply.status_code == status, reply.text
        return str(reply.json()["error"])

    def light(self, name: str) -> tuple[str, str]:
        [one] = [one for one in self.state()["lights"] if one["name"] == name]
        return one["light"], one["code"]


@contextmanager
def at_the_desk(owner: PlayedOwner) -> Iterator[Desk]:
    """An operator who is logged in."""
    one = Desk(owner)
    assert one.login().status_code == 200
    yield one
    one.http.close()
