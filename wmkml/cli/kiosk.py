"""Show visitor's page and stage in full screen, without ways out, as long as this runs; ./kiosk.sh calls this.

On one screen the visitor's page; on two the stage on the second. A browser that dies, hangs or crashes is replaced, and while the
installation does not answer the screens are black. Ends by Ctrl-C or SIGTERM, and puts keyboard and screen saver back.
Exit status: 0 when it was ended, 1 when something is missing, 2 for a wrong argument.
"""

from __future__ import annotations

import argparse
import signal
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.config import ConfigError
from wmkml.config.arguments import add_settings_arguments, settings_of

if TYPE_CHECKING:
    from wmkml.kiosk.keeper import KioskWindow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", choices=("visitor", "stage"), help="one page alone, on the first screen")
    parser.add_argument(
        "--visitor-at", metavar="WxH+X+Y", help="where the visitor's page is, instead of the first screen"
    )
    parser.add_argument("--stage-at", metavar="WxH+X+Y", help="where the stage is, instead of the second screen")
    parser.add_argument(
        "--owner", metavar="URL", help="of an installation on another machine, as http://192.168.0.7:8000"
    )
    parser.add_argument(
        "--stage-key", help="with --owner: its stage key, as its launcher prints it in the stage's address"
    )
    parser.add_argument(
        "--restart-after",
        type=float,
        default=72.0,
        metavar="HOURS",
        help="start each browser anew after so many hours, when no run lives; default: 72; 0: never",
    )
    parser.add_argument("--keep-keys", action="store_true", help="leave Ctrl, Alt and the function keys as they are")
    parser.add_argument(
        "--install", action="store_true", help="start this with the graphical session, with these options"
    )
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    from wmkml.kiosk.browser import NoBrowserError, find_browser
    from wmkml.kiosk.desktop import kiosk_desktop
    from wmkml.kiosk.keeper import Keeper, owner_phase
    from wmkml.kiosk.screens import ScreensUnknownError
    from wmkml.kiosk.sound import SoundReporter

    if arguments.restart_after < 0:
        print(f"--restart-after {arguments.restart_after:g} is not allowed; allowed: hours from 0.", file=sys.stderr)
        return 2
    try:
        owner, stage_key, verify = _addresses(arguments)
        if arguments.install:
            return _install()
        path = find_browser()
        windows = _windows(arguments, owner, stage_key)
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    except (NoBrowserError, ScreensUnknownError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    if any(window.name == "stage" for window in windows):
        SoundReporter(owner, stage_key, verify, _report).start(stop)
    with kiosk_desktop(_report, keep_keys=arguments.keep_keys):
        for window in windows:
            _report(f"{window.name} at {window.screen}. Ctrl-C here, or SIGTERM, ends it.")
        Keeper(path, windows, lambda: owner_phase(owner), arguments.restart_after * 3600, _report).keep(stop)
    return 0


def _report(line: str) -> None:
    print(line, flush=True)


def _addresses(arguments: argparse.Namespace) -> tuple[str, Callable[[], str], ssl.SSLContext | bool]:
    """The owner's address, what gives the stage's key as it is now, and httpx's `verify` for it.

    Raises:
        ValueError: the arguments contradict each other.
    """
    if arguments.owner is not None:
        if not arguments.owner.startswith(("http://", "https://")):
            raise ValueError(f"--owner {arguments.owner}: write it with http:// or https://.")
        if arguments.stage_key is None and arguments.only != "visitor":
            raise ValueError("--owner needs --stage-key as well, or --only visitor.")
        return arguments.owner.rstrip("/"), lambda: arguments.stage_key or "", True
    from wmkml.access.key_ring import KeyRing
    from wmkml.access.keys import KeysUnreadableError
    from wmkml.access.tls import CertificateError, owner_verification
    from wmkml.config.addresses import browser_url
    from wmkml.config.paths import paths_of

    settings, root = settings_of(arguments)
    try:
        paths = paths_of(settings, root)
        verify = owner_verification(paths)
        if arguments.stage_key:
            return browser_url(settings), lambda: str(arguments.stage_key), verify
        keys = KeyRing(paths)
        return browser_url(settings), lambda: keys.stage, verify
    except (KeysUnreadableError, CertificateError) as error:
        raise ValueError(str(error)) from None


def _windows(arguments: argparse.Namespace, owner: str, stage_key: Callable[[], str]) -> list[KioskWindow]:
    from wmkml.kiosk.keeper import KioskWindow
    from wmkml.kiosk.screens import connected_screens, screen_of

    places = {name: getattr(arguments, f"{name}_at") for name in ("visitor", "stage")}
    names = [arguments.only] if arguments.only else list(places)
    screens = iter([] if all(places[name] for name in names) else connected_screens())
    windows = []

    def visitor() -> str:
        return f"{owner}/"

    def stage() -> str:
        return f"{owner}/stage?key={stage_key()}"

    for name in names:
        screen = screen_of(places[name]) if places[name] else next(screens, None)
        if screen is not None:
            address = visitor if name == "visitor" else stage
            windows.append(KioskWindow(name, address, screen))
    return windows


def _install() -> int:
    """Write an autostart entry, which every desktop of freedesktop.org reads, that calls kiosk.sh with the same arguments."""
    from wmkml.config.paths import PROJECT

    words = [str(PROJECT / "kiosk.sh"), *(word for word in sys.argv[2:] if word != "--install")]
    # The desktop entry specification: an argument in double quotes, in which these four are escaped; % doubled.
    escape = str.maketrans({character: f"\\\\{character}" for character in '"`$'} | {"\\": "\\\\\\\\", "%": "%%"})
    command = " ".join(f'"{word.translate(escape)}"' for word in words)
    path = Path.home() / ".config" / "autostart" / "wmkml-kiosk.desktop"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"[Desktop Entry]\nType=Application\nName=Watch me kill my language\nExec={command}\n", encoding="utf-8"
    )
    print(f"{path} is written: the kiosk starts with the graphical session. Delete the file to undo it.")
    return 0
