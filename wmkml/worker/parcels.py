"""An adapter as one body of a request: a tar with its two files, for an owner and a worker that share no folder."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from wmkml.training.lora import CONFIG_FILE, WEIGHTS_FILE

LARGEST = 4 * 2**30
"""Bytes of an adapter that are believed; rank 16 on all layers of a 7B model is under 200 MB."""


class ParcelBroken(ValueError):
    """A body that is not a tar with the two files of one adapter, or whose weights have another sha256."""


def packed(folder: Path) -> bytes:
    """The two files of the adapter in `folder` as an uncompressed tar (weights do not compress)."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            tar.add(folder / name, arcname=name, recursive=False)
    return body.getvalue()


def unpack(body: bytes, folder: Path, sha256: str) -> None:
    """Write the two files of a parcel into `folder`, which is made; nothing else a tar may hold is looked at.

    Raises:
        ParcelBroken: not an adapter's parcel, or not the adapter with this sha256.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as tar:
            for member in tar:
                if member.isreg() and member.name in (CONFIG_FILE, WEIGHTS_FILE) and member.size <= LARGEST:
                    stream = tar.extractfile(member)
                    files[member.name] = stream.read() if stream else b""
    except tarfile.TarError:
        raise ParcelBroken("The adapter's body is not a tar.") from None
    if len(files) != 2:
        raise ParcelBroken(f"The adapter's tar must hold {CONFIG_FILE} and {WEIGHTS_FILE}.")
    if hashlib.sha256(files[WEIGHTS_FILE]).hexdigest() != sha256:
        raise ParcelBroken(f"The adapter's {WEIGHTS_FILE} has another sha256 than was announced.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
