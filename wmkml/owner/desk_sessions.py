"""Who may be at the desk: the PIN is guessed slowly, and opens a session that ends by itself.

A wrong guess makes its client wait, longer each time, and many of them from many clients make everybody wait a little:
never so long that the operator is kept out for good.  Sessions are held in memory and end with the owner, with a new
PIN, with a log-out, or after SESSION_SECONDS.  Knows no HTTP.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from wmkml.keys import opens

SESSION_SECONDS = 12 * 3600.0
"""A day at the exhibition."""

MOST_SESSIONS = 64
"""Beyond that the oldest ends."""

FREE_GUESSES = 3
"""A client may mistype so often before it is made to wait."""

LONGEST_WAIT = 60.0
"""Seconds a client waits at most."""

FREE_GUESSES_OF_ALL = 20
LONGEST_WAIT_OF_ALL = 10.0
"""Seconds everybody waits at most, for the wrong guesses of all within MEMORY_SECONDS."""

MEMORY_SECONDS = 900.0
"""So long after its last wrong guess a client has a clean slate."""

MOST_CLIENTS = 1024


class WrongPin(ValueError):
    """That was not the PIN."""


class TooSoon(RuntimeError):
    """The guess was not looked at: there were too many wrong ones.  `seconds` until the next one is."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not before {seconds:.0f} s have passed")
        self.seconds = math.ceil(seconds)


@dataclass
class _Guesser:
    wrong: int
    last: float

    def wait(self, now: float) -> float:
        return _wait(self.wrong - FREE_GUESSES, LONGEST_WAIT) - (now - self.last)


@dataclass(frozen=True)
class _Session:
    pin: str
    ends: float


class DeskSessions:
    """The desk's door."""

    def __init__(self, pin: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        """`pin`: reads the PIN as it is now; `clock`: in seconds."""
        self._pin, self._clock = pin, clock
        self._sessions: dict[str, _Session] = {}
        self._guessers: dict[str, _Guesser] = {}
        self._wrong: deque[float] = deque(maxlen=MOST_CLIENTS)

    def login(self, client: str, guess: str) -> str:
        """A session's token for the right PIN.

        Args:
            client: who guesses; whoever shares this name shares its waiting.

        Raises:
            TooSoon: this guess was not looked at.
            WrongPin: it was wrong.
        """
        now, pin = self._clock(), self._pin()
        self._forget(now)
        before = self._guessers.get(client)
        left = max(before.wait(now) if before is not None else 0.0, self._wait_of_all(now))
        if left > 0:
            raise TooSoon(left)
        if not opens(guess, pin):
            self._wrong.append(now)
            self._guessers.pop(client, None)  # the newest comes last: the oldest is forgotten first
            self._guessers[client] = _Guesser(1 if before is None else before.wrong + 1, now)
            if len(self._guessers) > MOST_CLIENTS:
                del self._guessers[next(iter(self._guessers))]
            raise WrongPin
        self._guessers.pop(client, None)
        token = secrets.token_urlsafe(32)
        self._sessions[token] = _Session(pin, now + SESSION_SECONDS)
        if len(self._sessions) > MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return token

    def valid(self, token: str | None) -> bool:
        """Whether a token opens the desk now."""
        session = self._sessions.get(token or "")
        if session is None:
            return False
        if session.ends <= self._clock() or session.pin != self._pin():
            del self._sessions[token or ""]
            return False
        return True

    def logout(self, token: str | None) -> None:
        """End a session; one that is none does no harm."""
        self._sessions.pop(token or "", None)

    def _wait_of_all(self, now: float) -> float:
        if not self._wrong:
            return 0.0
        return _wait(len(self._wrong) - FREE_GUESSES_OF_ALL, LONGEST_WAIT_OF_ALL) - (now - self._wrong[-1])

    def _forget(self, now: float) -> None:
        while self._wrong and now - self._wrong[0] > MEMORY_SECONDS:
            self._wrong.popleft()
        self._guessers = {name: one for name, one in self._guessers.items() if now - one.last <= MEMORY_SECONDS}


def _wait(too_many: int, longest: float) -> float:
    """Seconds to wait after so many wrong guesses beyond those that are free: two, four, eight, up to the longest."""
    return float(min(longest, 2.0**too_many)) if too_many > 0 else 0.0
