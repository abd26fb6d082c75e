"""Starts the owner: checks what it needs, takes its port, serves until it is told to leave."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import uvicorn

from wmkml.addresses import KEEP_ALIVE_SECONDS
from wmkml.config import Settings
from wmkml.corpora import check_all, list_datasets, read_dataset
from wmkml.keys import KeysUnreadable, load_keys
from wmkml.listening import listen
from wmkml.owner.app import make_app
from wmkml.owner.reading import where
from wmkml.pin import PinUnusable, load_pin
from wmkml.places import places

log = logging.getLogger(__name__)

LEAVE_SECONDS = 2
"""So long open streams may take to end when the owner leaves."""


def serve(settings: Settings, root: Path) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 when told to leave, 1 after an error that only a new process mends, 2 when these settings cannot work.
    """
    logging.basicConfig(level=settings.general.logging, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    where_things_are = places(settings, root)
    if problems := wrong_datasets(settings, where_things_are.datasets):
        print("\n".join(problems), file=sys.stderr)
        return 2
    if settings.general.verification_mode:
        for problem in check_all(where_things_are.datasets, settings.general.available_datasets or None):
            log.warning("%s", problem)
    try:
        keys = load_keys(where_things_are)
        load_pin(where_things_are)
    except (KeysUnreadable, PinUnusable, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    host, port = settings.general.owner_host, settings.general.owner_port
    try:
        listening = listen(host, port)
    except OSError as error:
        print(
            f"The owner cannot listen on {host}, port {port}: {error.strerror}. "
            "End what uses it, or set general.owner_port.",
            file=sys.stderr,
        )
        return 2

    crashes: list[BaseException] = []

    def crashed(error: BaseException) -> None:
        log.critical("The owner cannot go on and leaves; its run goes on when it is started again.\n%s", where(error))
        crashes.append(error)
        server.should_exit = True

    app = make_app(settings, where_things_are, keys, crashed)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=LEAVE_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            lifespan="on",
            proxy_headers=False,  # whom a proxy speaks for is weighed by `reading.trusted`, and never believed blindly
            server_header=False,
        )
    )
    with listening:
        server.run(sockets=[listening])
    return 1 if crashes or not server.started else 0


def wrong_datasets(settings: Settings, folder: Path) -> list[str]:
    """Why the datasets that the settings name cannot be used, one sentence each."""
    told = []
    available = settings.general.available_datasets
    used = [name for names in settings.finetuning.dataset_array for name in names]
    for name in dict.fromkeys([*available, *used]):
        key = "general.available_datasets" if name in available else "finetuning.dataset_array"
        if name in used and available and name not in available:
            told.append(f"finetuning.dataset_array: {name!r} is not among general.available_datasets.")
            continue
        dataset = read_dataset(folder, name)
        if not dataset.prompts:
            known = ", ".join(list_datasets(folder)) or "none"
            reasons = "; ".join(problem.text for problem in dataset.problems[:3])
            told.append(f"{key}: {name!r} cannot be used: {reasons} (data sets in {folder}: {known}).")
    return told
