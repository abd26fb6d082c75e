"""The URLs at which the services of this machine reach each other, derived from where the settings have them listen."""

from __future__ import annotations

from wmkml.config import Settings

LOOPBACK_OF = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""The address at which a service is called that listens on all addresses of a family."""

KEEP_ALIVE_SECONDS = 75
"""How long a service keeps an idle connection open: longer than its callers do (httpx 5 s, proxies 60 s).

The caller must close first: a request sent while the service closes is lost, and a POST must not be repeated.
"""


def owner_url(settings: Settings) -> str:
    """The owner's URL on this machine, without a trailing slash.

    With a certificate of its own it is https, to be verified by `wmkml.access.tls.owner_verification`.
    """
    return _url(settings.general.owner_host, settings.general.owner_port, scheme=owner_scheme(settings))


def owner_scheme(settings: Settings) -> str:
    """`https` where the owner has a certificate and its key, else `http`."""
    return "https" if settings.general.tls_key else "http"


def browser_url(settings: Settings) -> str:
    """The owner's URL for a browser on this machine: by a name of the certificate, if it has one."""
    names = settings.general.host_names
    if not settings.general.tls_key or not names:
        return owner_url(settings)
    return f"https://{names[0]}:{settings.general.owner_port}"


def inference_url(settings: Settings) -> str:
    """The inference service's URL on this machine, without a trailing slash."""
    return _url(settings.inference.inference_host, settings.general.inference_port)


def _url(host: str, port: int, *, scheme: str = "http") -> str:
    host = LOOPBACK_OF.get(host, host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
