"""Starts the owner: checks datasets, keys and PIN, opens its port, and serves until it receives a signal."""

from __future__ import annotations

import errno
import logging
import sys
import tempfile
from pathlib import Path

import uvicorn

from wmkml.access.key_ring import KeyRing
from wmkml.access.keys import KeysUnreadableError
from wmkml.access.pin import PinUnusableError, load_pin
from wmkml.access.tls import CertificateError, RenewedCertificate, check_certificate
from wmkml.config import Settings
from wmkml.config.addresses import KEEP_ALIVE_SECONDS
from wmkml.config.logs import configure_logging
from wmkml.config.paths import paths_of
from wmkml.corpora import check_datasets, is_adult, list_datasets, read_dataset
from wmkml.decency.word_lists import WordListError
from wmkml.measures.panel.prompts import PanelFileError, panel_prompts
from wmkml.owner.app import make_app
from wmkml.owner.http.http_requests import error_location
from wmkml.protocol.middleware.connection_limits import ConnectionLimits
from wmkml.protocol.middleware.limited_server import LimitedServer
from wmkml.system.open_files import raise_open_file_limit
from wmkml.system.sockets import listen

log = logging.getLogger(__name__)

RENEWAL_SECONDS = 5
"""How often it is looked whether the certificate was renewed."""

SHUTDOWN_SECONDS = 2
"""How long open streams may take to end at shutdown before they are cut."""


def serve(settings: Settings, root: Path) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a signal, 1 after an error that a new process may not meet again, 2 if these settings cannot work.
    """
    configure_logging(settings.general, "owner")
    for logger_name in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(logger_name).setLevel(logging.WARNING)
    paths = paths_of(settings, root)
    if settings.general.verification_mode:  # first: a set that cannot be used at all has the most to be told of
        for problem in check_datasets(paths.datasets, settings.general.available_datasets or None):
            log.log(logging.ERROR if problem.severity == "error" else logging.WARNING, "%s", problem)
    if problems := dataset_problems(settings, paths.datasets):
        print("\n".join(problems), file=sys.stderr)
        return 2
    try:
        for language in settings.languages:
            panel_prompts(paths.panel, language)
    except PanelFileError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        _require_writable(paths.runs)
        keys = KeyRing(paths)
        load_pin(paths)
        check_certificate(paths)
        if settings.general.log_visitor_words:
            paths.words_marker.touch()  # diagnostics leave the logs out from now on
    except (KeysUnreadableError, PinUnusableError, CertificateError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(error.strerror if error.filename is None else error, file=sys.stderr)
        return 2
    host, port = settings.general.owner_host, settings.general.owner_port
    try:
        listening_socket = listen(host, port)
    except OSError as error:
        print(
            f"The owner cannot listen on {host}, port {port}: {error.strerror}. "
            "End what uses it, or set general.owner_port.",
            file=sys.stderr,
        )
        return 2

    crashes: list[BaseException] = []

    def on_crash(error: BaseException) -> None:
        log.critical(
            "The owner cannot go on and leaves; its run goes on when it is started again.\n%s", error_location(error)
        )
        crashes.append(error)
        server.should_exit = True

    general = settings.general
    limits = ConnectionLimits(
        general.max_connections,
        0 if general.behind_proxy else general.max_connections_per_address,
        open_files=raise_open_file_limit(),
    )
    try:
        app = make_app(settings, paths, keys, on_crash)
    except WordListError as error:
        print(error, file=sys.stderr)
        return 2
    config = uvicorn.Config(
        app,
        http=limits.protocol(),
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="on",
        proxy_headers=False,  # the app evaluates them, of `general.trusted_proxies` alone, and `from_trusted_host`
        server_header=False,
        ssl_certfile=paths.tls_certificate if general.tls_key else None,
        ssl_keyfile=paths.tls_key if general.tls_key else None,
        timeout_notify=RENEWAL_SECONDS,
    )
    config.load()
    if config.ssl is not None:
        renewed = RenewedCertificate(config.ssl, paths)

        async def look() -> None:
            renewed.look()

        config.callback_notify = look
    server = LimitedServer(config, limits)
    with listening_socket:
        server.run(sockets=[listening_socket])
    return 1 if crashes or not server.started else 0


def _require_writable(folder: Path) -> None:
    """Raises OSError, with a sentence, where nothing can be written; a full disk is waited for instead."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return
        raise OSError(
            error.errno, f"general.data_folder: {folder} cannot be written ({error.strerror}). Name another folder."
        ) from None


def dataset_problems(settings: Settings, folder: Path) -> list[str]:
    """One sentence for each dataset named in the settings that cannot be used."""
    problems = []
    available = settings.general.available_datasets
    used = [name for names in settings.finetuning.dataset_array for name in names]
    for name in dict.fromkeys([*available, *used]):
        key = "general.available_datasets" if name in available else "finetuning.dataset_array"
        if name in used and available and name not in available:
            problems.append(f"finetuning.dataset_array: {name!r} is not among general.available_datasets.")
            continue
        if is_adult(folder, name) and not settings.general.allow_adult_datasets:
            problems.append(
                f"{key}: {name!r} is marked as not for everybody (adult: true); leave it out, or set "
                "general.allow_adult_datasets: true."
            )
            continue
        dataset = read_dataset(folder, name)
        if not dataset.prompts:
            known = ", ".join(list_datasets(folder)) or "none"
            reasons = "; ".join(problem.text for problem in dataset.problems[:3])
            problems.append(f"{key}: {name!r} cannot be used: {reasons} (data sets in {folder}: {known}).")
    return problems
