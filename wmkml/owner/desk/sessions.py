"""Log-in to the desk: sessions opened with the PIN, and rate limits on guessing it.

After a few wrong guesses a client must wait before the next one, twice as long each time.  Nobody waits for another
client's guesses: else whoever guesses without a pause would keep the operator out.  Against many addresses the PIN's
digits stand: one address has some twenty guesses in the first hour and twelve in each later one, so eight of them find one
of a million PINs within a day with a chance of 1 in 400.

Sessions are kept in memory; they end with the owner process, a new PIN, a log-out, or after SESSION_SECONDS.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from wmkml.access.keys import key_matches

SESSION_SECONDS = 12 * 3600.0
"""How long a session lasts: a day at the exhibition."""

MAX_SESSIONS = 64
"""Opening one more ends the oldest session."""

FREE_GUESSES = 3
"""Wrong guesses that a client may make without waiting."""

MAX_CLIENT_WAIT_SECONDS = 300.0
"""The longest wait, in seconds."""

GUESS_MEMORY_SECONDS = 3600.0
"""A client's wrong guesses are forgotten this long after its last one."""

MAX_CLIENTS = 65536
"""The most clients whose wrong guesses are remembered; bounds the memory used, to some 15 MB."""


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
        excess = self.count - FREE_GUESSES
        if excess <= 0:
            return 0.0
        # An exponent beyond 30 is a longer wait than any, and in the end no number at all.
        return min(MAX_CLIENT_WAIT_SECONDS, 2.0 ** min(excess, 30)) - (now - self.last)


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
        seconds_left = 0.0 if previous is None else previous.seconds_left(now)
        if seconds_left > 0:
            raise TooSoonError(seconds_left)
        if not key_matches(guess, pin):
            self._wrong_guesses.pop(client, None)  # inserted again below, as the newest
            self._wrong_guesses[client] = _WrongGuesses(1 if previous is None else previous.count + 1, now)
            if len(self._wrong_guesses) > MAX_CLIENTS:
                del self._wrong_guesses[next(iter(self._wrong_guesses))]
            raise WrongPinError
        self._wrong_guesses.pop(client, None)
        return self.open()

    def open(self) -> str:
        """Open a session without asking for the PIN, as the link of `wmkml pin --login` does; returns its token."""
        token = secrets.token_urlsafe(32)
        self._sessions[token] = _Session(self._read_pin(), self._clock() + SESSION_SECONDS)
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

    def _forget_old_guesses(self, now: float) -> None:
        while self._wrong_guesses:
            client = next(iter(self._wrong_guesses))
            if now - self._wrong_guesses[client].last <= GUESS_MEMORY_SECONDS:
                return
            del self._wrong_guesses[client]
