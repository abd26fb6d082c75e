"""Log-in to the desk: sessions opened with the PIN, and rate limits on guessing it.

After a few wrong guesses a client must wait before the next one, twice as long each time.  Many wrong guesses by all
clients together make every client wait, but only briefly, so that the operator cannot be locked out.  Sessions are kept
in memory; they end with the owner process, a new PIN, a log-out, or after SESSION_SECONDS.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from wmkml.access.keys import key_matches

SESSION_SECONDS = 12 * 3600.0
"""How long a session lasts: a day at the exhibition."""

MAX_SESSIONS = 64
"""Opening one more ends the oldest session."""

FREE_GUESSES = 3
"""Wrong guesses that a client may make without waiting."""

MAX_CLIENT_WAIT_SECONDS = 60.0
"""The longest wait for a client's own wrong guesses, in seconds."""

FREE_GLOBAL_GUESSES = 20
"""Wrong guesses that all clients together may make within GUESS_MEMORY_SECONDS before everybody waits."""

MAX_GLOBAL_WAIT_SECONDS = 10.0
"""The longest wait for the wrong guesses of all clients, in seconds."""

GUESS_MEMORY_SECONDS = 900.0
"""A wrong guess is forgotten after this long; a client's count, this long after its last one."""

MAX_CLIENTS = 1024
"""The most clients whose wrong guesses are remembered, and the most guesses of all; bounds the memory used."""


class WrongPinError(ValueError):
    """That was not the PIN."""


class TooSoonError(RuntimeError):
    """The guess was not checked, after too many wrong ones.  `seconds` until the next one will be, rounded up."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not before {seconds:.0f} s have passed")
        self.seconds = math.ceil(seconds)


@dataclass(frozen=True)
class _WrongGuesses:
    """A client's wrong guesses: how many, and the time of the last one on the session clock."""

    count: int
    last: float

    def seconds_left(self, now: float) -> float:
        return _backoff_seconds(self.count - FREE_GUESSES, MAX_CLIENT_WAIT_SECONDS) - (now - self.last)


@dataclass(frozen=True)
class _Session:
    """The PIN it was opened with, and when it ends on the session clock."""

    pin: str
    ends: float


class DeskSessions:
    """The desk's open sessions and recent wrong guesses."""

    def __init__(self, read_pin: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        """`read_pin`: returns the PIN valid now; `clock`: monotonic, in seconds."""
        self._read_pin, self._clock = read_pin, clock
        self._sessions: dict[str, _Session] = {}
        self._wrong_guesses: dict[str, _WrongGuesses] = {}
        """By client, the one whose last guess is oldest first."""
        self._wrong_guess_times: deque[float] = deque(maxlen=MAX_CLIENTS)

    def login(self, client: str, guess: str) -> str:
        """Open a session.

        Args:
            client: identifies the guesser for the rate limit, e.g. its address.

        Returns:
            The session's token.

        Raises:
            TooSoonError: the client must still wait; the guess was not checked.
            WrongPinError: the guess was wrong.
        """
        now, pin = self._clock(), self._read_pin()
        self._forget_old_guesses(now)
        previous = self._wrong_guesses.get(client)
        seconds_left = max(0.0 if previous is None else previous.seconds_left(now), self._global_seconds_left(now))
        if seconds_left > 0:
            raise TooSoonError(seconds_left)
        if not key_matches(guess, pin):
            self._wrong_guess_times.append(now)
            self._wrong_guesses.pop(client, None)  # inserted again below, as the newest
            self._wrong_guesses[client] = _WrongGuesses(1 if previous is None else previous.count + 1, now)
            if len(self._wrong_guesses) > MAX_CLIENTS:
                del self._wrong_guesses[next(iter(self._wrong_guesses))]
            raise WrongPinError
        self._wrong_guesses.pop(client, None)
        token = secrets.token_urlsafe(32)
        self._sessions[token] = _Session(pin, now + SESSION_SECONDS)
        if len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return token

    def valid(self, token: str | None) -> bool:
        """Whether a token belongs to an open session.  Ends the session if its time is up or the PIN has changed."""
        session = self._sessions.get(token or "")
        if session is None:
            return False
        if session.ends <= self._clock() or session.pin != self._read_pin():
            del self._sessions[token or ""]
            return False
        return True

    def logout(self, token: str | None) -> None:
        """End a session; an unknown token is ignored."""
        self._sessions.pop(token or "", None)

    def _global_seconds_left(self, now: float) -> float:
        if not self._wrong_guess_times:
            return 0.0
        excess = len(self._wrong_guess_times) - FREE_GLOBAL_GUESSES
        return _backoff_seconds(excess, MAX_GLOBAL_WAIT_SECONDS) - (now - self._wrong_guess_times[-1])

    def _forget_old_guesses(self, now: float) -> None:
        while self._wrong_guess_times and now - self._wrong_guess_times[0] > GUESS_MEMORY_SECONDS:
            self._wrong_guess_times.popleft()
        self._wrong_guesses = {
            client: guesses
            for client, guesses in self._wrong_guesses.items()
            if now - guesses.last <= GUESS_MEMORY_SECONDS
        }


def _backoff_seconds(excess: int, longest: float) -> float:
    """The wait after `excess` wrong guesses beyond the free ones: 2, 4, 8 … seconds, at most `longest`."""
    return float(min(longest, 2.0**excess)) if excess > 0 else 0.0
