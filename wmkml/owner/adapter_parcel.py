"""An adapter as one tar, for a worker that shares no folder with the owner: written for it, and taken from it safely.

The tar holds two plain files, `adapter_config.json` and `adapter_model.safetensors`; nothing else in it is looked at,
and no name in it decides where anything is written.  Knows no round.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import IO

from wmkml.owner.lease import ADAPTER_FILES, WEIGHTS, sha256_of

LARGEST_BYTES = 4 * 2**30
"""Of a whole tar; rank 16 on all layers of a 7B model is under 200 MB."""


class ParcelBroken(ValueError):
    """Not a tar with an adapter's two files, or not the adapter that was announced."""


def pack(folder: Path, into: IO[bytes]) -> None:
    """Write the adapter in `folder` as an uncompressed tar."""
    with tarfile.open(fileobj=into, mode="w") as tar:
        for name in ADAPTER_FILES:
            tar.add(folder / name, arcname=name, recursive=False)


def unpack(parcel: Path, folder: Path, sha256: str) -> None:
    """Put a tar's adapter into `folder`, which is there afterwards whole or not at all.

    Raises:
        ParcelBroken: the file is not such a tar, or its weights have another sha256.
    """
    making = folder.with_name(f".{folder.name}.arriving")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        _extract(parcel, making)
        if sha256_of(making / WEIGHTS) != sha256:
            raise ParcelBroken(f"{WEIGHTS} is not the file whose sha256 was named.")
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _extract(parcel: Path, making: Path) -> None:
    try:
        with tarfile.open(parcel, mode="r:") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isreg() and member.name in ADAPTER_FILES else None
                if source is not None:
                    with (making / member.name).open("wb") as file:
                        shutil.copyfileobj(source, file)
    except tarfile.TarError:
        raise ParcelBroken("This is not an uncompressed tar.") from None
    if missing := [name for name in ADAPTER_FILES if not (making / name).is_file()]:
        raise ParcelBroken(f"The tar holds no {missing[0]}.")
