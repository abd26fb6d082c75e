"""The quota of the disk, on real folders: the oldest goes first, and what lives stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.waiting import until
from wmkml.config import Settings, load_settings
from wmkml.config.paths import Paths, paths_of
from wmkml.owner.run.quota import GIB, make_room
from wmkml.owner.run.run_folder import OVER_MARKER, finish_interrupted
from wmkml.runs.folder import create_run
from wmkml.runs.store import RunStore

MB = 1_000_000


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A data folder with three runs, a report and logs; later names are newer, by a day each."""
    settings = load_settings(None)
    paths = paths_of(settings, tmp_path)
    for number, name in enumerate(("1-oldest", "3-later", "5-live")):
        keep_run(paths, settings, name, 2 * number + 1)
    paths.reports.mkdir()
    paths.logs.mkdir()
    for day, path in (
        (2, paths.reports / "2-report.pdf"),
        (4, paths.logs / "owner.log.1"),
        (0, paths.logs / "owner.log"),
    ):
        write(path, day)
    return paths


def keep_run(paths: Paths, settings: Settings, name: str, day: int) -> Path:
    """A run's folder with an adapter, written at a day."""
    folder, store = create_run(paths.runs, name, "de", settings)
    store.close()
    write(folder / "adapters" / "weights", day)
    for path in folder.rglob("*"):
        os.utime(path, (day * 86400, day * 86400))
    return folder


def write(path: Path, day: int) -> None:
    path.write_bytes(b"x" * MB)
    os.utime(path, (day * 86400, day * 86400))


def left(paths: Paths) -> set[str]:
    return {path.name for folder in (paths.runs, paths.reports, paths.logs) for path in folder.iterdir()}


def test_within_the_quota_nothing_goes(paths: Paths) -> None:
    before = left(paths)
    outcome = make_room(paths, 100 * MB, [paths.runs / "5-live"])
    assert (outcome.deleted, left(paths)) == ((), before)
    assert outcome.used_bytes > 6 * MB


def test_the_oldest_go_first_and_no_more_than_needed(paths: Paths) -> None:
    used = make_room(paths, 100 * MB).used_bytes
    outcome = make_room(paths, used - 2 * MB, [paths.runs / "5-live"])
    assert outcome.deleted == ("1-oldest", "2-report.pdf")
    assert left(paths) == {"3-later", "5-live", "owner.log", "owner.log.1"}
    assert outcome.used_bytes <= used - 2 * MB


def test_what_lives_stays_also_where_it_takes_more_than_the_quota(paths: Paths) -> None:
    outcome = make_room(paths, 1, [paths.runs / "5-live"])
    assert outcome.deleted == ("1-oldest", "2-report.pdf", "3-later", "owner.log.1")
    assert left(paths) == {"5-live", "owner.log"}
    assert outcome.used_bytes > 1


def test_a_run_that_has_begun_since_it_was_asked_which_one_lives_stays(paths: Paths) -> None:
    begun, store = create_run(paths.runs, "7-begun", "de", load_settings(None))
    store.close()
    outcome = make_room(paths, 1, [paths.runs / "5-live"])
    assert "1-oldest" in outcome.deleted and begun.is_dir()


def test_what_is_being_made_or_marked_for_deletion_is_left_to_whoever_does_it(paths: Paths) -> None:
    (paths.runs / ".new-run").mkdir()
    (paths.runs / "1-oldest" / OVER_MARKER).touch()
    make_room(paths, 1, [paths.runs / "5-live"])
    assert {".new-run", "1-oldest"} <= left(paths)
    finish_interrupted(paths.runs)


def test_nothing_outside_is_deleted_by_a_link(paths: Paths, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    write(outside / "photo", 0)
    (paths.runs / "0-link").symlink_to(outside)
    make_room(paths, 1, [paths.runs / "5-live"])
    assert (outside / "photo").exists() and not (paths.runs / "0-link").is_symlink()


def test_without_folders_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert make_room(paths_of(load_settings(None), tmp_path), 1).deleted == ()


@pytest.mark.process
def test_an_owner_keeps_its_quota_and_says_what_went(tmp_path: Path) -> None:
    quota = {"general.disk_quota_gib": 1.5 * MB / GIB, "general.keep_runs": True}
    settings = load_settings(None, overrides=quota)
    paths = paths_of(settings, tmp_path)
    old = keep_run(paths, settings, "20200101-120000-de-0000", 1)
    newer = keep_run(paths, settings, "20210101-120000-de-0000", 2)
    for folder in (old, newer):
        end_run(folder)
    with started_cluster(tmp_path, **quota) as cluster:
        until(lambda: not old.exists(), "the oldest run to go")
        until(lambda: any(old.name in notice for notice in cluster.state()["notices"]), "a notice")
        assert newer.exists() and healthy(cluster)


def end_run(folder: Path) -> None:
    """As the owner ends a run that is kept."""
    store = RunStore(folder / "run.sqlite")
    store.set_phase("waiting", 1.0)
    store.flush()
    store.close()


def healthy(cluster: OwnerCluster) -> bool:
    return cluster.owner.get("/healthz").status_code == 200
