"""The keys that open what shows every visitor's words: one each for the stage, the worker and the operator.

Made at the first start, by whichever service comes first, and kept in a file that only its owner's user can read.
The desk's PIN, for people, is kept in the same way (`wmkml.pin`).  Knows nothing of which door wants which key.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from wmkml.places import Places


@dataclass(frozen=True)
class Keys:
    """`stage` opens all events, `worker` the rounds, `operator` the run (and whatever the stage's opens)."""

    stage: str
    worker: str
    operator: str


class KeysUnreadable(ValueError):
    """The key file is there and is not one.  The text names the file and what to do."""


def load_keys(places: Places) -> Keys:
    """The installation's keys; the first call makes them.

    Safe when several processes call it at once: the file appears whole or not at all, and the first one wins.

    Raises:
        KeysUnreadable: the file exists and does not hold three keys.
        OSError: the data folder cannot be written, or the file not read.
    """
    path = places.keys
    if not path.exists():
        made = Keys(*(secrets.token_urlsafe(24) for _ in range(3)))
        write_first(path, json.dumps(asdict(made), indent=1))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys = Keys(**content)
    except (ValueError, TypeError):
        raise KeysUnreadable(f"{path} does not hold the three keys; delete it, and new ones are made.") from None
    if not all(isinstance(one, str) and one for one in asdict(keys).values()):
        raise KeysUnreadable(f"{path} holds an empty key; delete it, and new ones are made.")
    return keys


def write_first(path: Path, content: str) -> None:
    """Make a file that its owner's user alone can read; where another process was first, its content is everybody's."""
    fresh = _private(path, content)
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def write_anew(path: Path, content: str) -> None:
    """Replace such a file, whole or not at all."""
    _private(path, content).replace(path)


def _private(path: Path, content: str) -> Path:
    """The content beside `path`, on the disk, under a name of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return fresh


def opens(given: str | None, *keys: str) -> bool:
    """Whether what was given is one of the keys; takes the same time whatever was given."""
    # Bytes, because compare_digest refuses text beyond ASCII, which anybody may send.
    offered = (given or "").encode()
    matches = [hmac.compare_digest(offered, key.encode()) for key in keys]
    return any(matches)
