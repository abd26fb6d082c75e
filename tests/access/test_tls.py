"""The owner's certificate: what cannot be used is named, and this machine's processes take exactly the certificate that is there."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.access.certificates import NAME, CertificateFiles, signed_by, signed_by_itself
from wmkml.access.tls import CertificateError, PinnedContext, RenewedCertificate, check_certificate, owner_verification
from wmkml.config import ConfigError, load_settings
from wmkml.config.addresses import browser_url, owner_url
from wmkml.config.paths import Paths, paths_of

pytestmark = pytest.mark.process  # openssl


def paths_with(files: CertificateFiles, folder: Path) -> Paths:
    return paths_of(load_settings(None, overrides=files.settings), folder)


@contextmanager
def served(files: CertificateFiles) -> Iterator[tuple[str, ssl.SSLContext]]:
    """An address that answers 204 to every request with this certificate, and the server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            except OSError:
                connection.close()  # the client did not take the certificate

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/", context
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def taken(address: str, verify: ssl.SSLContext | bool) -> bool:
    """Whether a client talks to this address."""
    with httpx.Client(verify=verify, trust_env=False) as client:
        try:
            return client.get(address).status_code == 204
        except httpx.ConnectError as error:
            assert "CERTIFICATE_VERIFY_FAILED" in str(error)
            return False


def test_only_the_certificate_of_the_settings_is_taken(tmp_path: Path) -> None:
    authority = signed_by_itself(tmp_path / "authority", "An authority")
    own, other = signed_by(authority, tmp_path / "own"), signed_by(authority, tmp_path / "other")
    verify = owner_verification(paths_with(own, tmp_path))
    with served(own) as (address, _), served(other) as (elsewhere, _):
        assert taken(address, verify), "by an address, which the certificate does not name"
        assert not taken(elsewhere, verify), "of the same name, signed by the same"
        assert not taken(address, owner_verification(paths_of(load_settings(), tmp_path))), (
            "public authorities did not sign it"
        )


async def test_a_renewed_certificate_is_taken_by_both_sides_without_a_new_context(tmp_path: Path) -> None:
    files = signed_by_itself(tmp_path / "tls")
    paths = paths_with(files, tmp_path)
    verify = PinnedContext(files.certificate)
    with served(files) as (address, context):
        renewed = RenewedCertificate(context, paths)
        async with httpx.AsyncClient(verify=verify, trust_env=False) as client:
            assert (await client.get(address)).status_code == 204
            before = files.browser()
            signed_by_itself(tmp_path / "tls")
            assert (await client.get(address)).status_code == 204, "while the server still has the former one"
            renewed.look()
            assert (await client.get(address)).status_code == 204
        before.check_hostname = False
        assert not taken(address, before), "the former one is served no more"


def test_a_renewal_that_does_not_fit_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = signed_by_itself(tmp_path / "tls")
    paths = paths_with(files, tmp_path)
    pinned = PinnedContext(files.certificate)
    with served(files) as (address, context):
        renewed = RenewedCertificate(context, paths)
        files.key.write_bytes(signed_by_itself(tmp_path / "other").key.read_bytes())
        renewed.look()
        renewed.look()
        assert taken(address, pinned)
    assert caplog.text.count("is not used yet") == 1, "said once"
    assert "PRIVATE KEY" not in caplog.text


def test_one_that_has_run_out_is_told_of_and_ends_nothing_here(tmp_path: Path) -> None:
    authority = signed_by_itself(tmp_path / "authority", "An authority")
    over = signed_by(authority, tmp_path / "over", "20200101000000Z", "20200201000000Z")
    paths = paths_with(over, tmp_path)
    assert check_certificate(paths) == datetime(2020, 2, 1, tzinfo=UTC)
    with served(over) as (address, _):
        assert taken(address, owner_verification(paths))
        browser = authority.browser()
        browser.check_hostname = False
        assert not taken(address, browser), "a browser would warn"


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    good, other = signed_by_itself(tmp_path / "good"), signed_by_itself(tmp_path / "other")
    paths = paths_with(good, tmp_path)
    left = check_certificate(paths)
    assert left is not None and (left - datetime.now(UTC)).days >= 823
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for wrong, word in (
        (replace(paths, tls_key=other.key), "cannot be used together"),
        (
            replace(paths, tls_certificate=tmp_path / "absent.pem"),
            "general.tls_certificate: .*absent.pem cannot be read",
        ),
        (replace(paths, tls_key=tmp_path / "absent.pem"), "general.tls_key: .*absent.pem cannot be read"),
        (replace(paths, tls_certificate=text), "cannot be used"),
    ):
        with pytest.raises(CertificateError, match=word):
            check_certificate(wrong)
    with pytest.raises(CertificateError, match=r"holds no certificate|cannot be read"):
        owner_verification(replace(paths, tls_certificate=text))
    assert check_certificate(replace(paths, tls_key=None)) is None, "a machine that only verifies an owner elsewhere"


def test_the_address_says_https_and_a_browser_gets_the_name(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path / "c.pem", tmp_path / "k.pem")
    settings = load_settings(None, overrides=files.settings | {"general.host_names": [NAME]})
    assert (owner_url(settings), browser_url(settings)) == ("https://127.0.0.1:8000", f"https://{NAME}:8000")
    assert browser_url(load_settings(None, overrides={"general.host_names": [NAME]})) == "http://127.0.0.1:8000"
    with pytest.raises(ConfigError, match="tls_certificate"):
        load_settings(None, overrides={"general.tls_key": "k.pem"})
    for proxies, more in ((["127.0.0.1"], {}), (["nginx"], {"general.behind_proxy": True})):
        with pytest.raises(ConfigError, match="trusted_proxies"):
            load_settings(None, overrides={"general.trusted_proxies": proxies} | more)
