"""The owner's own certificate: whether it can be used, how it is renewed without a restart, and how this machine's processes verify it.

The certificate is of a name that visitors use, and the processes here call the owner by an address.  So they trust this one
certificate, byte by byte, whoever has signed it and whatever name it bears; nothing else at the owner's port is talked to.
A certificate that has run out is a matter between the owner and browsers: processes of the same machine go on.
"""

from __future__ import annotations

import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wmkml.config.paths import Paths

log = logging.getLogger(__name__)

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's `ssl` does not name."""

RENEWAL_DAYS = 14
"""A certificate that runs out within so many days should have been renewed: issuers do so a month before."""

END_OF_CERTIFICATE = "-----END CERTIFICATE-----"


class CertificateError(ValueError):
    """Certificate and key cannot be used.  The text is for the operator, and names the setting and the file."""


class PinnedContext(ssl.SSLContext):
    """A client's context that takes the owner's certificate alone, and a renewed one as soon as its file has changed.

    For httpx's `verify`.
    """

    def __new__(cls, _certificate: Path) -> PinnedContext:
        """A context of a client (`ssl.SSLContext` is made here, not in `__init__`)."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, certificate: Path) -> None:
        """Raises CertificateError: the file holds no certificate."""
        self.check_hostname = False
        self.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME)
        self._file = certificate
        self._seen = 0
        self._take()

    def wrap_bio(self, *arguments: Any, **more: Any) -> ssl.SSLObject:
        """As `ssl.SSLContext`; called for every new connection of an asynchronous client."""
        self._take()
        return super().wrap_bio(*arguments, **more)

    def wrap_socket(self, *arguments: Any, **more: Any) -> ssl.SSLSocket:
        """As `ssl.SSLContext`; called for every new connection of another client."""
        self._take()
        return super().wrap_socket(*arguments, **more)

    def _take(self) -> None:
        """Trust the certificate that the file holds now, besides those before."""
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._seen:
                self.load_verify_locations(cadata=first_certificate(self._file))
                self._seen = changed
        except (OSError, ssl.SSLError, CertificateError) as error:
            if not self._seen:
                raise CertificateError(f"general.tls_certificate: {self._file} cannot be read ({error}).") from None


def owner_verification(paths: Paths) -> ssl.SSLContext | bool:
    """httpx's `verify` for the owner of these settings.

    True, for public certificates, where it has none of its own: also for an owner elsewhere, behind a proxy.

    Raises:
        CertificateError: the certificate cannot be read.
    """
    return True if paths.tls_certificate is None else PinnedContext(paths.tls_certificate)


def first_certificate(path: Path) -> str:
    """The first certificate of a PEM file, which is the owner's; those after it are of who signed it, and of many others too.

    Raises:
        CertificateError: there is none.
        OSError: the file cannot be read.
    """
    text = path.read_text(encoding="ascii", errors="replace")
    start, end = text.find("-----BEGIN CERTIFICATE-----"), text.find(END_OF_CERTIFICATE)
    if not 0 <= start < end:
        raise CertificateError(f"general.tls_certificate: {path} holds no certificate in PEM.")
    return text[start : end + len(END_OF_CERTIFICATE)] + "\n"


def check_certificate(paths: Paths) -> datetime | None:
    """When the certificate runs out; None where there is none in the settings.

    The handshake is made with it, in memory, as a browser's would be.

    Raises:
        CertificateError: certificate or key cannot be read, or do not belong together.
    """
    certificate, key = paths.tls_certificate, paths.tls_key
    if certificate is None or key is None:
        return None
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise CertificateError(f"general.{name}: {path} cannot be read ({error.strerror}).") from None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would be asked for at a terminal that nobody sits at.
        server.load_cert_chain(certificate, key, password=lambda: b"")
        return _runs_out(PinnedContext(certificate), server)
    # ssl.SSLError is an OSError; any other comes of a file that is being replaced this moment.
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise CertificateError(
            f"general.tls_certificate and tls_key: {certificate} and {key} cannot be used together ({reason}). Both are PEM, "
            "the key is the certificate's and has no password."
        ) from None


def _runs_out(client: ssl.SSLContext, server: ssl.SSLContext) -> datetime:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = ssl.SSLContext.wrap_bio(client, to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, answering, asking, answering):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    seen = asking.getpeercert() or {}
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(seen["notAfter"])), UTC)


class RenewedCertificate:
    """A server's context that takes a renewed certificate for new connections: `look` is called every now and then."""

    def __init__(self, context: ssl.SSLContext, paths: Paths) -> None:
        self._context, self._paths = context, paths
        self._seen = self._changed()

    def look(self) -> None:
        """Load certificate and key again if their files have changed; what cannot be used is logged, and the former one stays."""
        changed = self._changed()
        certificate, key = self._paths.tls_certificate, self._paths.tls_key
        if changed == self._seen or certificate is None or key is None:
            return
        try:
            # Tried first: a context that has failed to load a pair has none any more.
            runs_out = check_certificate(self._paths)
            self._context.load_cert_chain(certificate, key)
        except (CertificateError, ssl.SSLError, OSError) as error:
            if changed == self._refused:
                return
            self._refused = changed
            log.warning("The renewed certificate is not used yet: %s", error)
        else:
            self._seen = changed
            log.info("The renewed certificate is used; it runs out on %s.", f"{runs_out:%Y-%m-%d}")

    _refused: tuple[int, ...] = ()

    def _changed(self) -> tuple[int, ...]:
        files = [path for path in (self._paths.tls_certificate, self._paths.tls_key) if path is not None]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
