"""A service's own temporary folder: short, private, and emptied when the service starts again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from wmkml.system.disk.private_temp import private_temp_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_what_a_killed_engine_left_is_gone_at_the_next_start(tmp_path: Path, temporary: Path) -> None:
    folder = private_temp_folder("inference", tmp_path / "data")
    assert folder.parent == temporary and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(str(folder.relative_to(temporary))) < 40  # a socket's whole path may have a hundred bytes
    (folder / "vllm_dist_1").mkdir()
    (folder / "socket").touch()
    assert private_temp_folder("inference", tmp_path / "data") == folder
    assert list(folder.iterdir()) == []
    assert private_temp_folder("inference", tmp_path / "other") != folder


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, temporary: Path) -> None:
    folder = private_temp_folder("inference", tmp_path / "data")
    folder.rmdir()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    folder.symlink_to(precious)
    assert private_temp_folder("inference", tmp_path / "data") not in (folder, precious)
    assert (precious / "file").exists()
