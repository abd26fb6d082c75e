"""Archives that were made to do harm: refused with a sentence, before they take room."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from wmkml.adapters.archive import ArchiveBrokenError, unpack
from wmkml.adapters.files import WEIGHTS_FILE


def sparse_tar(folder: Path) -> bytes:
    with (folder / WEIGHTS_FILE).open("wb") as file:
        file.truncate(3 * 2**30)
    return subprocess.run(["tar", "-cSf", "-", "-C", folder, WEIGHTS_FILE], capture_output=True, check=True).stdout


def with_pax_headers(headers: dict[str, str]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(WEIGHTS_FILE)
        member.size, member.pax_headers = 4, headers
        tar.addfile(member, io.BytesIO(b"abcd"))
    return archive.getvalue()


@pytest.mark.process
def test_ten_kilobytes_do_not_become_gigabytes(tmp_path: Path) -> None:
    archive = sparse_tar(tmp_path)
    assert len(archive) < 20_000
    with pytest.raises(ArchiveBrokenError, match="sparse"):
        unpack(io.BytesIO(archive), tmp_path / "adapter", "0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS_FILE]


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "a,b", "GNU.sparse.size": "4"},
        {"GNU.sparse.size": "x", "GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
        {"size": "-5"},
        {"mtime": "x" * 5000},
    ],
)
def test_malformed_headers_are_a_broken_archive(tmp_path: Path, headers: dict[str, str]) -> None:
    with pytest.raises(ArchiveBrokenError):
        unpack(io.BytesIO(with_pax_headers(headers)), tmp_path / "adapter", "0" * 64)
    assert list(tmp_path.iterdir()) == []
