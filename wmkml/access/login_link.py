"""A link that opens the operator's desk once, for whom the PIN does not let in: made at a terminal of this machine.

Its token is 32 random bytes.  The data folder holds the token's hash until the link is used, replaced or too old, so that
a copy of the folder opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time

from wmkml.access.keys import replace_private_file
from wmkml.config.paths import Paths

LINK_SECONDS = 600.0
"""How long a link can be used."""

LOGIN_LINK_PATH = "/desk/enter"
"""The owner's path that takes the token, as `?once=`."""


def make_login_token(paths: Paths) -> str:
    """A new token; an earlier one is not taken any more.

    Raises:
        OSError: the data folder cannot be written.
    """
    token = secrets.token_urlsafe(32)
    record = {"sha256": _hash(token), "until": time.time() + LINK_SECONDS}
    replace_private_file(paths.login_link, json.dumps(record))
    return token


def use_login_token(paths: Paths, token: str) -> bool:
    """Whether the token opens the desk now; it never does again.

    Raises:
        OSError: the data folder cannot be written, so that the link would stay good.
    """
    try:
        record = json.loads(paths.login_link.read_text(encoding="utf-8"))
        expected, until = str(record["sha256"]), float(record["until"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    if not hmac.compare_digest(_hash(token), expected):
        return False
    try:
        paths.login_link.unlink()  # of two that use it at once, one succeeds
    except FileNotFoundError:
        return False
    # A link from the future is none: the clock was set back, and it might be good for ever.
    return time.time() <= until <= time.time() + LINK_SECONDS


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", errors="replace")).hexdigest()
