"""Calls to addresses outside: each problem that appears or goes, as JSON, and a sign of life while the owner lives.

Nobody waits for them.  What cannot be delivered is tried again, later and later; what happens meanwhile waits behind it, in order.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from typing import Literal

import httpx

from wmkml.config import General
from wmkml.problems.printing import title_of
from wmkml.protocol.base import Message
from wmkml.protocol.desk import DeskProblem

log = logging.getLogger(__name__)

REPLY_SECONDS = 10.0
"""How long an address may take to answer."""

FIRST_WAIT_SECONDS = 1.0
"""Between the first two tries; twice as long before each further one …"""

LONGEST_WAIT_SECONDS = 60.0
"""… up to this."""

MAX_WAITING = 500
"""So many alerts wait at most; the oldest goes first."""

MISSED_HEARTBEATS = 2
"""So many in a row must fail before that is a problem."""

OWN_CODES = ("alert_unreachable",)
"""Problems that are not sent: there is no way for them."""


class ProblemAlert(Message):
    """What `alert_url` gets: a problem that has appeared or gone.  Holds no visitor's word.

    `title`: its sentence, in English; `since`, `at`: when it was first seen, and when this was noticed, in seconds since 1970.
    """

    installation: str
    code: str
    state: Literal["raised", "cleared"]
    title: str
    detail: str
    since: float
    at: float


class AlertSender:
    """Posts alerts, one after another."""

    def __init__(self, general: General, first_wait: float = FIRST_WAIT_SECONDS) -> None:
        self._url = general.alert_url.get_secret_value()
        self._installation = general.installation_name or socket.gethostname()
        self._first_wait = first_wait
        self._waiting: deque[ProblemAlert] = deque(maxlen=MAX_WAITING)
        self._more = asyncio.Event()
        self._failure = ""

    def failure(self) -> str:
        """Why the last try failed; empty where it did not."""
        return self._failure

    def problem_changed(self, problem: DeskProblem, state: Literal["raised", "cleared"]) -> None:
        """A problem has appeared or gone; returns at once."""
        if not self._url or problem.code in OWN_CODES:
            return
        alert = ProblemAlert(
            installation=self._installation,
            code=problem.code,
            state=state,
            title=title_of(problem.code, problem.detail, "en"),
            detail=problem.detail,
            since=problem.since,
            at=time.time(),
        )
        self._waiting.append(alert)
        self._more.set()

    async def send(self) -> None:
        """Deliver what waits, for ever; without an address, return at once."""
        if not self._url:
            return
        wait = self._first_wait
        async with httpx.AsyncClient(timeout=REPLY_SECONDS) as http:
            while True:
                if not self._waiting:
                    self._more.clear()
                    await self._more.wait()
                alert = self._waiting[0]
                self._failure = await _failure_of(http, "POST", self._url, alert)
                if self._failure:
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, LONGEST_WAIT_SECONDS)
                    continue
                wait = self._first_wait
                # A full queue may have dropped it meanwhile.
                if self._waiting and self._waiting[0] is alert:
                    self._waiting.popleft()


class HeartbeatCaller:
    """Calls an address again and again."""

    def __init__(self, general: General) -> None:
        self._url, self._seconds = general.heartbeat_url.get_secret_value(), general.heartbeat_seconds
        self._missed, self._failure = 0, ""

    def failure(self) -> str:
        """Why the last calls failed; empty where they did not."""
        return self._failure if self._missed >= MISSED_HEARTBEATS else ""

    async def call(self) -> None:
        """Call for ever; without an address, return at once."""
        if not self._url:
            return
        async with httpx.AsyncClient(timeout=min(REPLY_SECONDS, self._seconds)) as http:
            while True:
                began = time.monotonic()
                self._failure = await _failure_of(http, "GET", self._url, None)
                self._missed = self._missed + 1 if self._failure else 0
                await asyncio.sleep(max(0.0, self._seconds - (time.monotonic() - began)))


async def _failure_of(http: httpx.AsyncClient, method: str, url: str, message: Message | None) -> str:
    """Why a call failed, without its address, which may hold a secret; empty where it did not."""
    content = None if message is None else message.model_dump_json()
    headers = {} if message is None else {"Content-Type": "application/json"}
    try:
        reply = await http.request(method, url, content=content, headers=headers)
    except httpx.InvalidURL:
        return "the address is none"
    except httpx.TimeoutException:
        return "no answer in time"
    except Exception as error:  # noqa: BLE001
        # Whatever it is, the owner lives on: not all that an address can cause is an error of httpx (a group of errors, one of the
        # library for names), and a text of theirs may quote the address.
        return type(error).__name__
    return "" if reply.is_success else f"status {reply.status_code}"
