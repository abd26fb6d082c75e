"""What the worker says to the owner over HTTP: claim, step, hand in, failed, and the adapters themselves.

Tells apart an owner that is away (try again) from one that refuses (do not).  Knows nothing of training.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from wmkml import wire

log = logging.getLogger(__name__)

Reply = TypeVar("Reply", bound=BaseModel)

LONG_POLL = 75.0
"""Seconds a claim may take: the owner answers in under a minute."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds between two tries at an owner that is away; they double."""


class OwnerAway(ConnectionError):
    """Nobody answers there, or answers that it cannot just now."""


class OwnerRefuses(RuntimeError):
    """The owner answered no.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class OwnerClient:
    """One worker's line to its owner.  Every call raises OwnerRefuses for a 4xx; those that say so wait while it is away."""

    def __init__(self, url: str, key: Callable[[], str], claim: wire.Claim) -> None:
        """`key` is asked anew for every request, since an owner that starts anew may have made new keys."""
        self.url = url
        self._key = key
        self._claim = claim
        self._http = httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(30.0, connect=5.0), trust_env=False)
        self._away = False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def claim(self) -> wire.RoundJob | None:
        """Ask for a round; None when there is none for now.

        Raises:
            OwnerAway: it is not there.
        """
        response = await self._send("POST", "/worker/claim", self._claim, timeout=LONG_POLL)
        return None if response.status_code == 204 else _parsed(wire.RoundJob, response)

    async def step(self, job: wire.RoundJob, report: wire.StepReport) -> wire.StepReply:
        """Report a step, or that one is alive.

        Raises:
            OwnerAway: it is not there.
        """
        return _parsed(wire.StepReply, await self._send("POST", f"{_place(job)}/step", report))

    async def hand_in(self, job: wire.RoundJob, hand_in: Callable[[], wire.HandIn]) -> wire.HandInReply:
        """Hand the adapter in and wait for the verdict, which comes when inference has loaded it, or for an owner that is away.

        The message is made anew at every try.
        """
        return _parsed(
            wire.HandInReply, await self._patiently("POST", f"{_place(job)}/hand_in", hand_in, timeout=120.0)
        )

    async def failed(self, job: wire.RoundJob, reason: str) -> None:
        """Give the round back; waits for the owner if it is away."""
        await self._patiently("POST", f"{_place(job)}/failed", lambda: wire.RoundFailure(reason=reason))

    async def upload(self, job: wire.RoundJob, body: bytes, sha256: str) -> None:
        """Send an adapter's parcel; waits for the owner if it is away."""
        headers = {"X-Sha256": sha256, "Content-Type": "application/x-tar"}
        await self._patiently("PUT", f"{_place(job)}/adapter", lambda: body, headers=headers, timeout=300.0)

    async def download(self, job: wire.RoundJob, place: wire.AdapterPlace) -> bytes:
        """Fetch an accepted adapter's parcel; waits for the owner if it is away."""
        path = f"/worker/adapters/{job.run}/{place.iteration}"
        return (await self._patiently("GET", path, lambda: None, timeout=300.0)).content

    async def _patiently(
        self, method: str, path: str, body: Callable[[], BaseModel | bytes | None], **more: Any
    ) -> httpx.Response:
        wait = FIRST_WAIT
        while True:
            try:
                return await self._send(method, path, body(), **more)
            except OwnerAway:
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)

    async def _send(
        self,
        method: str,
        path: str,
        body: BaseModel | bytes | None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        headers = {"X-Key": self._key(), **(headers or {})}
        if isinstance(body, BaseModel):
            body = body.model_dump_json().encode()
            headers["Content-Type"] = "application/json"
        options: dict[str, Any] = {} if timeout is None else {"timeout": httpx.Timeout(timeout, connect=5.0)}
        try:
            response = await self._http.request(method, path, content=body, headers=headers, **options)
        except httpx.TransportError as error:
            self._tell(away=True)
            raise OwnerAway(f"{self.url} does not answer ({type(error).__name__}).") from None
        if response.status_code >= 500:
            self._tell(away=True)
            raise OwnerAway(f"{self.url} answers {response.status_code}.")
        self._tell(away=False)
        if response.status_code >= 400:
            raise OwnerRefuses(response.status_code, _sentence(response))
        return response

    def _tell(self, *, away: bool) -> None:
        if away != self._away:
            log.warning("The owner at %s %s.", self.url, "is away: trying again" if away else "is back")
        self._away = away


def _place(job: wire.RoundJob) -> str:
    return f"/worker/rounds/{job.run}/{job.iteration}/{job.attempt}"


def _parsed(kind: type[Reply], response: httpx.Response) -> Reply:
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        # The error's own text quotes what it read, and a job holds visitors' words.
        fields = sorted({".".join(str(part) for part in item["loc"]) or "body" for item in error.errors()})
        raise OwnerRefuses(
            response.status_code, f"The owner's answer is no {kind.__name__} (wrong: {', '.join(fields)})."
        ) from None


def _sentence(response: httpx.Response) -> str:
    try:
        return wire.Refusal.model_validate_json(response.content).error
    except ValidationError:
        return f"status {response.status_code}"
