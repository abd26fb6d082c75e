"""An adapter as a tar archive, for an owner and a worker that share no folder.

The tar holds two plain files, `adapter_config.json` and `adapter_model.safetensors`, and `probe.json` where the trainer
wrote one.  Other members are ignored, so that no name in an archive can write outside the target folder.  It is not
compressed, since weights do not compress.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import IO

from wmkml.adapters.files import ADAPTER_FILES, WEIGHTS_FILE, missing_file, sha256_of
from wmkml.adapters.probe import FILES_WITH_PROBE

MAX_ARCHIVE_BYTES = 4 * 2**30
"""The largest archive, and the largest file in one.  Rank 16 on all layers of a 7B model takes under 200 MB."""


class ArchiveBrokenError(ValueError):
    """The archive is not a tar with an adapter's two files, or its weights have another sha256 than announced."""


def pack(folder: Path, into: IO[bytes]) -> None:
    """Write the adapter in `folder` as an uncompressed tar to `into`."""
    with tarfile.open(fileobj=into, mode="w") as tar:
        for name in FILES_WITH_PROBE:
            if name in ADAPTER_FILES or (folder / name).is_file():
                tar.add(folder / name, arcname=name, recursive=False)


def unpack(archive: IO[bytes], folder: Path, sha256: str) -> None:
    """Extract an archive's adapter into `folder`, replacing it; afterwards `folder` is complete or does not exist.

    Args:
        sha256: the expected hash of the weights' file, in hexadecimal.

    Raises:
        ArchiveBrokenError: the archive is not such a tar, or its weights have another sha256.
    """
    unfinished = folder.with_name(f".{folder.name}.arriving")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _extract(archive, unfinished)
        if sha256_of(unfinished / WEIGHTS_FILE) != sha256:
            raise ArchiveBrokenError(f"{WEIGHTS_FILE} is not the file whose sha256 was announced.")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _extract(archive: IO[bytes], folder: Path) -> None:
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for member in tar:
                if not member.isreg() or member.name not in FILES_WITH_PROBE or member.size > MAX_ARCHIVE_BYTES:
                    continue
                if member.issparse():
                    # Ten kilobytes of it would be gigabytes on the disk; `pack` writes none.
                    raise ArchiveBrokenError(f"{member.name} is a sparse file, which no adapter's is.")
                if (source := tar.extractfile(member)) is not None:
                    with (folder / member.name).open("wb") as file:
                        shutil.copyfileobj(source, file)
    except ArchiveBrokenError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, EOFError):  # the latter three over malformed headers
        raise ArchiveBrokenError("This is not an uncompressed tar.") from None
    if (missing := missing_file(folder)) is not None:
        raise ArchiveBrokenError(f"The tar holds no {missing}.")
