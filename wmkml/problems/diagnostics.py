"""What somebody elsewhere needs to help, as a zip: versions, settings, problems, the ends of the logs.

It holds no visitor's word, no key and no PIN: secrets are taken out of everything, and logs are left out where they may hold words.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import re
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from wmkml.config import Settings
from wmkml.config.paths import Paths

LOG_TAIL_BYTES = 200_000
"""So much of the end of each log is taken."""

REMOVED = "[removed]"

KEY_IN_ADDRESS = re.compile(r"([?&](?:key|once)=)[^\s&\"'<>]+")

LEAST_SECRET = 4
"""Shorter texts of the settings are no secrets, and would be taken out of everything."""

LEAST_KEY = 16
"""What is shorter in a key file is the name of a key, or a PIN, which is digits."""

PACKAGES = ("fastapi", "httpx", "peft", "pydantic", "supervisor", "torch", "transformers", "uvicorn", "vllm")

WITH_LOGS = "logs/: the end of each log, as it was written."
WITHOUT_LOGS = (
    "The logs are left out: general.log_visitor_words is or was true, and they may hold visitors' words. When they may go, delete "
    "the folder logs and the file logs_hold_words in the data folder."
)
ABOUT = """Diagnostics of Watch me kill my language, {at}.

No visitor's word, no key and no PIN is in here.  Keine Worte von Besuchern, keine Schlüssel, keine PIN.

versions.json: the machine and the programs.
settings.json: all settings, secrets masked.
doctor.json: what the doctor finds.
problems.json: what is wrong now, by codes that BETRIEB.md and OPERATING.md explain, and the owner's notices.
state.json: the run's public state.
{logs}
"""


def pack_diagnostics(settings: Settings, paths: Paths, parts: Mapping[str, str]) -> bytes:
    """The zip.

    Args:
        parts: further texts by file name, as the doctor's report.
    """
    with_logs = not settings.general.log_visitor_words and not paths.words_marker.exists()
    files = {
        "README.txt": ABOUT.format(
            at=time.strftime("%Y-%m-%d %H:%M:%S %z"), logs=WITH_LOGS if with_logs else WITHOUT_LOGS
        ),
        "versions.json": json.dumps(versions(), indent=1),
        "settings.json": json.dumps(settings.model_dump(mode="json"), ensure_ascii=False, indent=1),
        **parts,
    }
    if with_logs:
        files |= {f"logs/{path.name}": _tail(path) for path in sorted(paths.logs.glob("*.log"))}
    secrets = sorted(installation_secrets(settings, paths), key=len, reverse=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, without_secrets(text, secrets))
    return packed.getvalue()


def versions() -> dict[str, str]:
    """The versions of machine and programs."""
    known = {"python": platform.python_version(), "system": platform.platform()}
    for package in ("wmkml", *PACKAGES):
        try:
            known[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            known[package] = "not installed"
    return known


def installation_secrets(settings: Settings, paths: Paths) -> set[str]:
    """Every secret of the installation that is known here: keys, PIN, tokens, and addresses that may hold one."""
    general, inference = settings.general, settings.inference
    named = (general.hf_token, general.alert_url, general.heartbeat_url, inference.url_key)
    secrets = {text for secret in named if len(text := secret.get_secret_value()) >= LEAST_SECRET}
    for path in (paths.keys, paths.pin, paths.node_key, paths.login_link):
        try:
            words = re.findall(r"[\w.~+/=-]+", path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
        secrets |= {word for word in words if len(word) >= LEAST_KEY or (path == paths.pin and word)}
    return secrets


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text with each secret, and each key in an address, taken out."""
    for secret in secrets:
        text = text.replace(secret, REMOVED)
    return KEY_IN_ADDRESS.sub(rf"\1{REMOVED}", text)


def _tail(path: Path) -> str:
    """The end of a log, from the beginning of a line."""
    try:
        with path.open("rb") as file:
            file.seek(0, io.SEEK_END)
            size = file.tell()
            file.seek(max(0, size - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"It cannot be read: {error.strerror}.\n"
    return text if size <= LOG_TAIL_BYTES else text.partition("\n")[2]
