"""Where one service of this machine reaches another: settings say where it listens, a URL says where it is called.

The one place that knows how the two differ.  Knows no protocol beyond the URL.
"""

from __future__ import annotations

from wmkml.config import Settings

EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Who listens everywhere is called on the loopback of that family."""


def owner_url(settings: Settings) -> str:
    """Where this machine reaches the owner, without a slash at the end."""
    return _url(settings.general.owner_host, settings.general.owner_port)


def inference_url(settings: Settings) -> str:
    """Where this machine reaches the inference service, without a slash at the end."""
    return _url(settings.inference.inference_host, settings.general.inference_port)


def _url(host: str, port: int) -> str:
    host = EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
