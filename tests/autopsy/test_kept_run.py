"""Finding and reading the folder of a kept run, and what is said of one that cannot be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmkml.autopsy.kept_run import KeptRunError, find_run_folder, read_kept_run
from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.runs.folder import create_run


def test_a_folder_that_is_no_kept_run_is_named(tmp_path: Path) -> None:
    paths = paths_of(load_settings(None, overrides={"general.data_folder": str(tmp_path)}), tmp_path)
    with pytest.raises(KeptRunError, match=r"holds no run"):
        find_run_folder("newest", paths)
    folder, store = create_run(paths.runs, "20260101-000000-de-abcd", "de", load_settings(None, model="understudy"))
    store.close()
    assert find_run_folder("newest", paths) == find_run_folder(folder.name, paths) == folder.resolve()
    with pytest.raises(KeptRunError, match=r"under way"):
        read_kept_run(folder, paths, tmp_path)
    (folder / "run.sqlite").write_bytes(b"no database")
    with pytest.raises(KeptRunError, match=r"cannot be read"):
        read_kept_run(folder, paths, tmp_path)
    with pytest.raises(KeptRunError, match=r"is no run"):
        find_run_folder("nobody", paths)
