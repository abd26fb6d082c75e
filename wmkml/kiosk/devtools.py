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
    """The browser does not answer in time, or refuses a command, or one of those below."""


class BrowserEndedError(BrowserSilentError):
    """The browser has closed its pipe."""


class PageCrashedError(BrowserSilentError):
    """The page's process has ended, and the browser lives."""

    def __init__(self) -> None:
        super().__init__("its page crashed")


class DevTools:
    """Commands to a browser, and its events, which are kept until they are taken.

    A page that has crashed answers nothing, and the browser keeps back what it is asked until it lives again: a session of which
    `Inspector.targetCrashed` is heard (it must have called `Inspector.enable`) has every call refused at once.
    """

    def __init__(self, commands: int, answers: int) -> None:
        """`commands` and `answers`: descriptors of the pipes' own ends; closed by `close`."""
        self._commands, self._answers = commands, answers
        self._lock = threading.Lock()
        self._next_id = 0
        self._waiting: dict[int, tuple[str | None, Future[dict[str, Any]]]] = {}
        """By the number of a command: the session of the page that was meant, and the answer to be."""
        self._crashed: set[str] = set()
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
            BrowserEndedError: and there will be none.
            PageCrashedError: nor from this page.
        """
        answer: Future[dict[str, Any]] = Future()
        with self._lock:
            if session in self._crashed:
                raise PageCrashedError
            self._next_id += 1
            number = self._next_id
            self._waiting[number] = session, answer
            message = {"id": number, "method": method, "params": parameters}
            if session is not None:
                message["sessionId"] = session
            try:
                os.write(self._commands, json.dumps(message).encode() + b"\0")
            except OSError as error:
                raise BrowserEndedError(f"{method}: {error.strerror}") from None
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
                    _, answer = self._waiting.get(message["id"], (None, None))
                    if answer is not None and not answer.done():
                        answer.set_result(message)
                    continue
                if message["method"] == "Inspector.targetCrashed":
                    self._refuse_session(message["sessionId"])
                self._events.append(message)
        for _, answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(BrowserEndedError("the browser has ended"))

    def _refuse_session(self, session: str) -> None:
        with self._lock:
            self._crashed.add(session)
            unanswered = [answer for of, answer in list(self._waiting.values()) if of == session and not answer.done()]
        for answer in unanswered:
            answer.set_exception(PageCrashedError())
