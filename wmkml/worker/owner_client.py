"""The worker's HTTP client for the owner: claims, reports, hand-ins, failures, and adapters' archives both ways.

Two kinds of error: an owner that cannot be reached or answers 5xx may be asked again (`OwnerAwayError`); one that
answers 4xx has refused the request (`OwnerRefusedError`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from wmkml.access.key_header import KeyHeader
from wmkml.protocol.base import Refusal
from wmkml.protocol.training import (
    AdapterPlace,
    Claim,
    HandIn,
    HandInReply,
    ModelMeasures,
    RoundFailure,
    RoundJob,
    StepReply,
    StepReport,
    WorkerUnable,
)

log = logging.getLogger(__name__)

ReplyT = TypeVar("ReplyT", bound=BaseModel)

CLAIM_TIMEOUT = 75.0
"""Seconds a claim may take: a long poll, which the owner answers in under a minute."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds before a request to an owner that is away is repeated: doubled each time, up to the second number."""


class OwnerAwayError(ConnectionError):
    """The owner cannot be reached, or answers 5xx."""


class OwnerRefusedError(RuntimeError):
    """The owner answered 4xx, or with a body that is not the expected message.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class WorkerOwnerClient:
    """One worker's client for its owner.

    Every call raises OwnerRefusedError for a refusal.  `claim`, `report_step` and `report_unable` raise OwnerAwayError;
    the others repeat their request until the owner can be reached.
    """

    def __init__(self, url: str, key: Callable[[], str], claim: Claim, verify: ssl.SSLContext | bool = True) -> None:
        """Args:
        key: called for every request, since it may be rotated.
        verify: of an owner with https, as httpx takes it.
        """
        self.url = url
        self._claim = claim
        self._http = httpx.AsyncClient(
            base_url=url,
            auth=KeyHeader(key),
            timeout=httpx.Timeout(30.0, connect=5.0),
            trust_env=False,
            verify=verify,
        )
        self._away = False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def claim(self) -> RoundJob | None:
        """Ask for a round; None when the owner has none within its long poll.

        Raises:
            OwnerAwayError: the owner cannot be reached.
        """
        response = await self._send("POST", "/worker/claim", self._claim, timeout=CLAIM_TIMEOUT)
        return None if response.status_code == 204 else _parse_reply(RoundJob, response)

    async def report_step(self, job: RoundJob, report: StepReport) -> StepReply:
        """Report an optimizer step or a notice, or renew the lease with step 0.

        Raises:
            OwnerAwayError: the owner cannot be reached.
        """
        return _parse_reply(StepReply, await self._send("POST", f"{_round_path(job)}/step", report))

    async def hand_in(self, job: RoundJob, hand_in: Callable[[], HandIn]) -> HandInReply:
        """Hand the adapter in; returns when inference has loaded it or it was refused.

        `hand_in` is called for every attempt, since the message holds a time span.
        """
        return _parse_reply(
            HandInReply, await self._send_until_reachable("POST", f"{_round_path(job)}/hand_in", hand_in, timeout=120.0)
        )

    async def report_measures(self, job: RoundJob, measures: ModelMeasures) -> None:
        """Report what was measured of the model with the adapter that was accepted."""
        await self._send_until_reachable("POST", f"{_round_path(job)}/measures", lambda: measures)

    async def report_failure(self, job: RoundJob, reason: str) -> None:
        """Report that the round failed, with a reason that holds no visitor's words."""
        await self._send_until_reachable("POST", f"{_round_path(job)}/failed", lambda: RoundFailure(reason=reason))

    async def report_unable(self, reason: str) -> None:
        """Report that this worker ends because it cannot work, and why.  Asked once: supervision starts it again.

        Raises:
            OwnerAwayError: the owner cannot be reached.
        """
        await self._send("POST", "/worker/unable", WorkerUnable(worker=self._claim.worker, reason=reason))

    async def upload(self, job: RoundJob, body: bytes, sha256: str) -> None:
        """Send an adapter's archive; `sha256` is its weights' hash."""
        headers = {"X-Sha256": sha256, "Content-Type": "application/x-tar"}
        await self._send_until_reachable(
            "PUT", f"{_round_path(job)}/adapter", lambda: body, headers=headers, timeout=300.0
        )

    async def download(self, job: RoundJob, place: AdapterPlace) -> bytes:
        """Fetch the archive of an accepted adapter."""
        path = f"/worker/adapters/{job.run}/{place.iteration}"
        return (await self._send_until_reachable("GET", path, lambda: None, timeout=300.0)).content

    async def _send_until_reachable(
        self, method: str, path: str, body: Callable[[], BaseModel | bytes | None], **more: Any
    ) -> httpx.Response:
        wait = FIRST_WAIT
        while True:
            try:
                return await self._send(method, path, body(), **more)
            except OwnerAwayError:
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
        headers = dict(headers or {})
        if isinstance(body, BaseModel):
            body = body.model_dump_json().encode()
            headers["Content-Type"] = "application/json"
        options: dict[str, Any] = {} if timeout is None else {"timeout": httpx.Timeout(timeout, connect=5.0)}
        try:
            response = await self._http.request(method, path, content=body, headers=headers, **options)
        except httpx.TransportError as error:
            self._log_reachability(away=True)
            raise OwnerAwayError(f"{self.url} does not answer ({type(error).__name__}).") from None
        if response.status_code >= 500:
            self._log_reachability(away=True)
            raise OwnerAwayError(f"{self.url} answers {response.status_code}.")
        self._log_reachability(away=False)
        if response.status_code >= 400:
            raise OwnerRefusedError(response.status_code, _refusal_sentence(response))
        return response

    def _log_reachability(self, *, away: bool) -> None:
        if away != self._away:
            log.warning("The owner at %s %s.", self.url, "is away: trying again" if away else "is back")
        self._away = away


def _round_path(job: RoundJob) -> str:
    return f"/worker/rounds/{job.run}/{job.iteration}/{job.attempt}"


def _parse_reply(kind: type[ReplyT], response: httpx.Response) -> ReplyT:
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        # The error's text quotes the body, and a job holds visitors' words.
        fields = sorted({".".join(str(part) for part in item["loc"]) or "body" for item in error.errors()})
        raise OwnerRefusedError(
            response.status_code, f"The owner's answer is no {kind.__name__} (wrong: {', '.join(fields)})."
        ) from None


def _refusal_sentence(response: httpx.Response) -> str:
    try:
        return Refusal.model_validate_json(response.content).error
    except ValidationError:
        return f"status {response.status_code}"
