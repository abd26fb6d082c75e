"""Keeps the kiosk's windows as they should be: looks at each once a second, and replaces what has failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

import httpx

from wmkml.kiosk.browser import BLACK, KioskBrowser
from wmkml.kiosk.devtools import BrowserSilentError
from wmkml.kiosk.screens import Screen

LOOK_SECONDS = 1.0
"""How often each window is looked at."""

MOST_WAIT_SECONDS = 30.0
"""The longest wait before a browser that fails again and again is started once more; the waits double up to it."""

ASKING_SECONDS = 5.0
"""How long the owner may take to answer whether it is there."""

ELSEWHERE_SECONDS = 60.0
"""A page that a link of the window's own led to (privacy, imprint) is left when nobody has touched it for so long."""

OVERDUE_SECONDS = 24 * 3600.0
"""A browser that should be started anew waits so long for a moment without a run."""


@dataclass
class KioskWindow:
    """A page on a screen.  `name`: for the operator; `address`: asked every second, since the stage's key may be rotated."""

    name: str
    address: Callable[[], str]
    screen: Screen
    browser: KioskBrowser | None = None
    failures: int = 0
    try_again_at: float = 0.0
    replaced: int = field(default=0)
    """How often its browser had to be replaced."""


def owner_phase(owner: str) -> str | None:
    """The phase of the run at the owner, None if it does not answer."""
    try:
        reply = httpx.get(f"{owner}/state", timeout=ASKING_SECONDS, trust_env=False, verify=False)
        return str(reply.json()["phase"]) if reply.status_code == 200 else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):  # also where something else answers there
        return None


class Keeper:
    """The windows of a kiosk, from `keep` until it is stopped."""

    def __init__(
        self,
        path: str,
        windows: Sequence[KioskWindow],
        phase: Callable[[], str | None],
        restart_seconds: float,
        report: Callable[[str], None],
    ) -> None:
        """A keeper; no window is open yet.

        Args:
            path: of the browser.
            phase: asks for the run's phase; None while the installation does not answer.
            restart_seconds: a browser that is older is replaced at the next moment without a run; 0: never.
            report: gets a line for whatever happens.
        """
        self._path, self._windows, self._phase = path, windows, phase
        self._restart_seconds, self._report = restart_seconds, report

    def keep(self, stop: threading.Event) -> None:
        """Keep every window open until `stop` is set, then end them."""
        try:
            while not stop.is_set():
                phase = self._phase()
                for window in self._windows:
                    self._look(window, phase)
                stop.wait(LOOK_SECONDS)
        finally:
            for window in self._windows:
                self._close(window)

    def _look(self, window: KioskWindow, phase: str | None) -> None:
        try:
            if window.browser is None:
                if monotonic() < window.try_again_at:
                    return
                window.browser = KioskBrowser(self._path, window.screen)
            if problem := window.browser.problem():
                raise BrowserSilentError(problem)
            if self._is_old(window.browser, phase):
                self._report(f"{window.name}: started anew, as after every {self._restart_seconds / 3600:.0f} hours.")
                self._close(window)
                return
            if window.browser.is_astray():
                window.browser.show(BLACK)
            elif phase is not None and (
                window.browser.address != (address := window.address())
                or window.browser.is_left_elsewhere(ELSEWHERE_SECONDS)
            ):
                window.browser.show(address)
                window.failures = 0
        except (BrowserSilentError, OSError) as error:  # OSError: no room for its profile, or no process for it
            window.failures += 1
            window.replaced += 1
            wait = 0.0 if window.failures == 1 else min(2.0 ** (window.failures - 2), MOST_WAIT_SECONDS)
            window.try_again_at = monotonic() + wait
            self._report(f"{window.name}: {error}. Its browser is replaced" + (f" in {wait:.0f} s." if wait else "."))
            self._close(window)

    def _is_old(self, browser: KioskBrowser, phase: str | None) -> bool:
        if not self._restart_seconds:
            return False
        age = monotonic() - browser.began
        return age > self._restart_seconds + (0 if phase == "waiting" else OVERDUE_SECONDS)

    def _close(self, window: KioskWindow) -> None:
        if window.browser is not None:
            window.browser.end()
            window.browser = None
