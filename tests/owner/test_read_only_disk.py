"""A disk that becomes read only while a run is under way: owner and launcher go on, and do later what it kept from being done."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.owner.owner_cluster import started_cluster
from tests.small_disk import small_disk
from tests.waiting import until
from wmkml.launcher.supervision import log_room
from wmkml.owner.run import run_folder

pytestmark = pytest.mark.process


def remount(folder: Path, how: str) -> None:
    """Mount a folder anew, `ro` or `rw`; what is open for writing keeps it from becoming read only."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_what_is_left_of_a_run_is_deleted_as_soon_as_it_can_be(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        run = disk.folder / "runs" / "r"
        (run / "adapters").mkdir(parents=True)
        (run / "run.sqlite").write_text("words")
        remount(disk.folder, "ro")
        assert not run_folder.delete_all_but_adapters(run)
        assert not run_folder.mark_adapters_over(run)
        assert (run / "run.sqlite").exists()
        remount(disk.folder, "rw")
        assert run_folder.delete_all_but_adapters(run)
        assert not (run / "run.sqlite").exists()
        remount(disk.folder, "ro")
        run_folder.delete_marked(run.parent)
        assert run.exists()
        remount(disk.folder, "rw")
        run_folder.delete_marked(run.parent)
        assert not run.exists()


def test_logs_that_cannot_give_way_take_nobody_along(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        for name in ("owner.log", "owner.log.1"):
            (disk.folder / name).write_bytes(b"x" * 2**17)
        disk.fill()
        remount(disk.folder, "ro")
        assert log_room.make_room(disk.folder) == []
        remount(disk.folder, "rw")
        assert sorted(log_room.make_room(disk.folder)) == ["owner.log", "owner.log.1"]


def test_a_run_ends_on_a_disk_that_is_read_only_and_so_does_inference(tmp_path: Path) -> None:
    """The runs' folder is made read only by a mount over itself, which the files that are open do not hinder."""
    with small_disk(tmp_path / "disk") as disk, started_cluster(disk.folder) as cluster:
        cluster.begin()
        cluster.chat("eins")
        [run] = [path for path in cluster.paths.runs.iterdir() if not path.name.startswith(".")]
        subprocess.run(["mount", "--bind", str(cluster.paths.runs), str(cluster.paths.runs)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(cluster.paths.runs)], check=True)
            assert cluster.owner_process is not None
            assert cluster.end().status_code == 200
            cluster.until_phase("waiting")
            cluster.kill_inference()
            until(lambda: cluster.state()["inference"] != "ready", "the owner to miss inference")
            assert cluster.owner_process.poll() is None
            assert (run / "run.sqlite").exists(), "nothing was provoked"
            subprocess.run(["mount", "-o", "remount,bind,rw", str(cluster.paths.runs)], check=True)
            until(lambda: not (run / "run.sqlite").exists(), "the words to be deleted")
        finally:
            subprocess.run(["umount", "-l", str(cluster.paths.runs)], check=True)
        assert "Traceback" not in cluster.log.read_text()
