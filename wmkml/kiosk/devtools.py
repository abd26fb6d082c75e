"""Chromium's DevTools protocol over two pipes (`--remote-debugging-pipe`): no port is opened that somebody else could use.

Messages are JSON, each ended by a zero byte.  https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any


class BrowserSilentError(RuntimeError):
    """The browser has closed its pipe, does not answer in time, or refuses a command."""


class DevTools:
    """Commands to a browser, and its events, which are kept until they are taken."""

    def __init__(self, commands: int, answers: int) -> None:
        """`commands` and `answers`: descriptors of the pipes' own ends; closed by `close`."""
        self._commands, self._answers = commands, answers
        self._lock = threading.Lock()
        self._next_id = 0
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._events: deque[dict[str, Any]] = deque(maxlen=1000)
        self._reader = threading.Thread(target=self._read, name="devtools", daemon=True)
        self._reader.start()

    def call(self, method: str, seconds: float, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result.

        Args:
            seconds: how long the answer is waited for.
            session: of the page that is meant; None: the browser.

        Raises:
            BrowserSilentError: no answer within that time, or an error as the answer.
        """
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            self._next_id += 1
            number = self._next_id
            self._waiting[number] = answer
            message = {"id": number, "method": method, "params": parameters}
            if session is not None:
                message["sessionId"] = session
            try:
                os.write(self._commands, json.dumps(message).encode() + b"\0")
            except OSError as error:
                raise BrowserSilentError(f"{method}: {error.strerror}") from None
        try:
            reply = answer.result(seconds)
        except FutureTimeoutError:
            raise BrowserSilentError(f"{method} was not answered within {seconds:.0f} s") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in reply:
            raise BrowserSilentError(f"{method}: {reply['error'].get('message', 'refused')}")
        return dict(reply.get("result", {}))

    def take_events(self) -> list[dict[str, Any]]:
        """The events since the last call, oldest first."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """Close both pipes; the browser must have ended, which ends the reading thread."""
        self._reader.join(10)
        os.close(self._commands)
        os.close(self._answers)

    def _read(self) -> None:
        rest = b""
        while chunk := os.read(self._answers, 65536):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    if (answer := self._waiting.get(message["id"])) is not None and not answer.done():
                        answer.set_result(message)
                else:
                    self._events.append(message)
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_result({"error": {"message": "the browser has ended"}})
