"""One Chromium in full screen: how it is started, what it must not do, and what can be wrong with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from urllib.parse import urlsplit

from wmkml.kiosk.devtools import BrowserEndedError, BrowserSilentError, DevTools
from wmkml.kiosk.screens import Screen

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

BLACK = "data:text/html,<title>.</title><body style='background:black;cursor:none'>"
"""What is shown until the installation answers."""

ANSWER_SECONDS = 20.0
"""How long a page may take to answer before it counts as hung.  A stage on a slow machine takes seconds for a picture."""

END_SECONDS = 5.0
"""How long the browser may take to end before it is killed."""

ARGUMENTS = (
    "--kiosk",
    "--no-first-run",
    "--no-default-browser-check",
    "--noerrdialogs",
    "--disable-session-crashed-bubble",
    "--hide-crash-restore-bubble",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-pinch",
    "--overscroll-history-navigation=0",
    "--autoplay-policy=no-user-gesture-required",
    "--password-store=basic",
    "--remote-debugging-pipe",
    # A stage that another window covers, or that nobody has touched, must not slow down.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-features=Translate,TouchpadOverscrollHistoryNavigation,OverscrollHistoryNavigation,MediaRouter,"
    "GlobalMediaControls,HardwareMediaKeyHandling,AutofillServerCommunication",
)

CLOSE_WAYS_OUT = """
for (const type of ['contextmenu', 'dragstart', 'dragover', 'drop', 'auxclick'])
  addEventListener(type, (event) => event.preventDefault(), true);
addEventListener('wheel', (event) => { if (event.ctrlKey) event.preventDefault(); }, { capture: true, passive: false });
for (const type of ['gesturestart', 'gesturechange']) addEventListener(type, (event) => event.preventDefault(), true);
"""
"""Runs in every page before its own code: no context menu, no file dropped onto it, no zoom by wheel or gesture."""

TELL_TOUCHES = """
window.kioskTouched = performance.now();
for (const type of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'scroll'])
  addEventListener(type, () => { window.kioskTouched = performance.now(); }, { capture: true, passive: true });
"""
"""Runs in every page as well, also in one without code of its own: when it was last touched."""


class NoBrowserError(RuntimeError):
    """No Chromium is installed."""


def find_browser() -> str:
    """The path of the first Chromium that is installed.

    Raises:
        NoBrowserError: none is.
    """
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise NoBrowserError("Chromium is missing. On Debian: sudo apt-get install chromium.")


class KioskBrowser:
    """A running Chromium with one page."""

    def __init__(self, path: str, screen: Screen) -> None:
        """Start it, black.

        Raises:
            BrowserSilentError: it does not come up.
        """
        self.began = time.monotonic()
        self.address = BLACK
        """What it was last told to show."""
        # In memory where there is /dev/shm: a visitor's words never reach a disk.
        shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._profile = tempfile.TemporaryDirectory(
            prefix="wmkml-kiosk-", dir=shared_memory, ignore_cleanup_errors=True
        )
        words = [*ARGUMENTS, f"--user-data-dir={self._profile.name}", f"--window-position={screen.x},{screen.y}"]
        words += [f"--window-size={screen.width},{screen.height}", BLACK]
        if os.geteuid() == 0:  # Chromium has no sandbox as root, and refuses to start with one
            words.insert(0, "--no-sandbox")
        its_commands, commands = os.pipe()
        answers, its_answers = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4, whatever numbers the pipes have here.
        script = f'exec "$@" 3<&{its_commands} 4>&{its_answers}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, "kiosk", path, *words],
            pass_fds=(its_commands, its_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(its_commands)
        os.close(its_answers)
        self._tools = DevTools(commands, answers)
        self._page, self._session = "", ""
        try:
            self._attach()
        except BrowserSilentError:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The browser's process."""
        return self._process.pid

    def _attach(self) -> None:
        call = self._tools.call
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            targets = call("Target.getTargets", ANSWER_SECONDS)["targetInfos"]
            pages = [target["targetId"] for target in targets if target["type"] == "page"]
            if pages or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if not pages:
            raise BrowserSilentError("it opened no page")
        self._page = pages[0]
        self._session = call("Target.attachToTarget", ANSWER_SECONDS, targetId=self._page, flatten=True)["sessionId"]
        call("Inspector.enable", ANSWER_SECONDS, self._session)
        call("Page.enable", ANSWER_SECONDS, self._session)
        call(
            "Page.addScriptToEvaluateOnNewDocument", ANSWER_SECONDS, self._session, source=CLOSE_WAYS_OUT + TELL_TOUCHES
        )
        call("Browser.setDownloadBehavior", ANSWER_SECONDS, behavior="deny")
        call("Target.setDiscoverTargets", ANSWER_SECONDS, discover=True)

    def show(self, address: str) -> None:
        """Open an address.

        Raises:
            BrowserSilentError: the browser does not answer.
        """
        self._tools.call("Page.navigate", ANSWER_SECONDS, self._session, url=address)
        self.address = address

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression in the page.

        Raises:
            BrowserSilentError: the page does not answer.
        """
        try:
            result = self._tools.call(
                "Runtime.evaluate", ANSWER_SECONDS, self._session, expression=expression, returnByValue=True
            )
        except BrowserEndedError:
            # It closes its pipe a moment before it can be waited for.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            raise BrowserSilentError(self._end() or "Chromium has closed its pipe") from None
        return result["result"].get("value")

    def problem(self) -> str:
        """What is wrong, so that it must be replaced; empty if nothing.  Pages that it opened besides are closed."""
        if end := self._end():
            return end
        try:
            for event in self._tools.take_events():
                parameters = event.get("params", {})
                target = parameters.get("targetInfo", {})
                is_another = target.get("type") == "page" and target["targetId"] != self._page
                if event["method"] == "Target.targetCreated" and is_another:
                    self._tools.call("Target.closeTarget", ANSWER_SECONDS, targetId=target["targetId"])
                if event["method"] == "Page.javascriptDialogOpening":
                    self._tools.call("Page.handleJavaScriptDialog", ANSWER_SECONDS, self._session, accept=True)
            self.evaluate("1")
        except BrowserSilentError as error:
            return str(error)
        return ""

    def _end(self) -> str:
        """How the browser's process has ended; empty while it lives."""
        status = self._process.poll()
        return "" if status is None else f"Chromium ended with status {status}"

    def is_astray(self) -> bool:
        """Whether the page shows an error, or another site than the one it was told to.

        Raises:
            BrowserSilentError: the page does not answer.
        """
        where = str(self.evaluate("document.URL"))
        if self.address == BLACK or where in ("", "about:blank"):
            return False
        return urlsplit(where)[:2] != urlsplit(self.address)[:2]

    def is_left_elsewhere(self, seconds: float) -> bool:
        """Whether another page of the same site was opened, and nobody has touched it for so long.

        Raises:
            BrowserSilentError: the page does not answer.
        """
        where = str(self.evaluate("document.URL"))
        if urlsplit(where).path == urlsplit(self.address).path:
            return False
        untouched = self.evaluate("(performance.now() - window.kioskTouched) / 1000")
        return isinstance(untouched, int | float) and untouched > seconds

    def end(self) -> None:
        """End the browser and whatever it started, and delete its profile."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._tools.close()
        self._profile.cleanup()
