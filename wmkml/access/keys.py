"""The installation's keys: one each for the stage, the worker and the operator.

They are created at the first start, by whichever service comes first, in a file that only its owner's user can read.
The desk's PIN (`wmkml.access.pin`) is stored in the same way.  Which route requires which key is decided by the
services.  A key can be rotated while they run: they read the file by `wmkml.access.key_ring`.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from wmkml.config.paths import Paths

KeyName = Literal["stage", "worker", "operator"]

KEY_NAMES: tuple[KeyName, ...] = get_args(KeyName)


@dataclass(frozen=True)
class Keys:
    """`stage` gives access to all events, `worker` to the rounds, `operator` to the run and all that `stage` gives."""

    stage: str
    worker: str
    operator: str


class KeysUnreadableError(ValueError):
    """The key file exists and is invalid.  The text names the file and what to do."""


def load_keys(paths: Paths) -> Keys:
    """The installation's keys; the first call creates them.

    Safe when several processes call it at once: the file appears whole or not at all, and the first one wins.

    Raises:
        KeysUnreadableError: the file exists and does not hold three keys.
        OSError: the data folder cannot be written, or the file not read.
    """
    path = paths.keys
    if not path.exists():
        new_keys = Keys(*(new_key() for _ in range(3)))
        create_private_file(path, json.dumps(asdict(new_keys), indent=1))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys = Keys(**content)
    except (ValueError, TypeError):
        raise KeysUnreadableError(f"{path} does not hold the three keys; delete it, and new ones are made.") from None
    values = list(asdict(keys).values())
    if not all(
        isinstance(key, str) and key.isascii() and key.isprintable() and key.strip() == key != "" for key in values
    ):
        raise KeysUnreadableError(
            f"{path} holds a key that is empty, or that no header can carry; delete the file, and new ones are made."
        )
    if len(set(values)) < len(values):
        raise KeysUnreadableError(f"{path} holds one key twice; delete it, and new ones are made.")
    return keys


def new_key() -> str:
    """A random key of 24 bytes, in characters that a header and an address can carry."""
    return secrets.token_urlsafe(24)


def rotate_key(paths: Paths, name: KeyName) -> str:
    """Replace one of the keys, also while services run, and return the new one.  The others stay.

    Raises:
        KeysUnreadableError, OSError: as `load_keys`; nothing has changed then.
    """
    with _alone(paths.keys):
        key = new_key()
        keys = replace(load_keys(paths), **{name: key})
        replace_private_file(paths.keys, json.dumps(asdict(keys), indent=1))
    return key


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from replacing the same file meanwhile: of two rotations none is lost."""
    import fcntl  # Windows has none; the window runs there, and rotates no key

    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def create_private_file(path: Path, content: str) -> None:
    """Create a file with mode 0600.  If another process created it first, that process's content stays."""
    temporary = _write_temporary_file(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def replace_private_file(path: Path, content: str) -> None:
    """Create or replace a file with mode 0600, atomically."""
    _write_temporary_file(path, content).replace(path)


def _write_temporary_file(path: Path, content: str) -> Path:
    """Write the content to a new file beside `path`, with mode 0600, and sync it to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def key_matches(given: str | None, *keys: str) -> bool:
    """Whether `given` is one of the keys; an empty one, as of a file that was cut short, matches nothing.  Constant time."""
    # Bytes, because compare_digest refuses non-ASCII text, which any client may send.
    given_bytes = (given or "").encode()
    matches = [hmac.compare_digest(given_bytes, key.encode()) for key in keys]
    return any(matches) and given_bytes != b""
