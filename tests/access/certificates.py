"""Certificates for tests, made by the `openssl` program as docs/tls.md tells operators to."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "kunst.local"

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

AUTHORITY = """
[ca]
default_ca = here
[here]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
email_in_dn = no
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class CertificateFiles:
    """A certificate and its key, both PEM."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        """The settings of an owner that has it."""
        return {"general.tls_certificate": str(self.certificate), "general.tls_key": str(self.key)}

    def browser(self) -> ssl.SSLContext:
        """How a browser verifies it that has imported it: by its name and its time."""
        return ssl.create_default_context(cafile=str(self.certificate))


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def signed_by_itself(folder: Path, name: str = NAME, days: int = 825) -> CertificateFiles:
    """A certificate for a name; written over an earlier one in this folder, as a renewal is."""
    folder.mkdir(parents=True, exist_ok=True)
    files = CertificateFiles(folder / "fullchain.pem", folder / "privkey.pem")
    new = [path.with_suffix(".new") for path in (files.certificate, files.key)]
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    _openssl("req", "-x509", *NEW_KEY, "-days", str(days), *subject, "-out", new[0], "-keyout", new[1])
    for path, written in zip((files.certificate, files.key), new, strict=True):
        written.replace(path)
    return files


def signed_by(authority: CertificateFiles, folder: Path, start: str = "", end: str = "") -> CertificateFiles:
    """A certificate that another has signed, followed by that; `start`, `end`: as `20200131000000Z`, else for a year from now."""
    folder.mkdir(parents=True, exist_ok=True)
    files = CertificateFiles(folder / "fullchain.pem", folder / "privkey.pem")
    request, configuration, leaf = folder / "request.pem", folder / "ca.cnf", folder / "leaf.pem"
    (folder / "index.txt").write_text("")
    configuration.write_text(AUTHORITY.format(folder=folder))
    _openssl(
        "req",
        *NEW_KEY,
        "-subj",
        f"/CN={NAME}",
        "-addext",
        f"subjectAltName=DNS:{NAME}",
        "-out",
        request,
        "-keyout",
        files.key,
    )
    dates = ["-startdate", start, "-enddate", end] if end else ["-days", "365"]
    signing: list[str | Path] = ["-cert", authority.certificate, "-keyfile", authority.key, "-notext", "-batch"]
    _openssl("ca", "-config", configuration, *signing, *dates, "-in", request, "-out", leaf)
    files.certificate.write_text(leaf.read_text() + authority.certificate.read_text())
    return files
