"""Where one service of this machine reaches another: settings say where it listens, a URL says where it is called.

The one place that knows how the two differ, and how long a line between them stays open.  Knows no protocol beyond that.
"""

from __future__ import annotations

from wmkml.config import Settings

EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Who listens everywhere is called on the loopback of that family."""


KEEP_ALIVE_SECONDS = 75
"""A service leaves an idle connection open for so long: longer than those who call keep one (httpx 5 s, proxies 60 s).

Whoever closes first must be the caller: a request that meets a service's closing is lost, and nobody may ask it again.
"""


def owner_url(settings: Settings) -> str:
    """Where this machine reaches the owner, without a slash at the end."""
    return _url(settings.general.owner_host, settings.general.owner_port)


def inference_url(settings: Settings) -> str:
    """Where this machine reaches the inference service, without a slash at the end."""
    return _url(settings.inference.inference_host, settings.general.inference_port)


def _url(host: str, port: int) -> str:
    host = EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
