"""Supervision in trouble, with real processes: a full disk, a program that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from supervisor import poller

from tests.launcher.launched_standins import StandinCluster, standin_cluster, until
from tests.launcher.standin_cluster import standin_command
from tests.small_disk import SmallDisk, small_disk
from wmkml.launcher.services import Service, answers_at
from wmkml.launcher.supervision.cluster import Cluster
from wmkml.launcher.supervision.configuration import LogLimit, Program
from wmkml.launcher.supervision.quick_polls import use_quick_polls
from wmkml.launcher.supervision.supervisor import Supervisor
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def named(cluster: StandinCluster, words: str) -> psutil.Process | None:
    """The process of the cluster whose command line holds these words."""
    matching = [process for process in cluster.processes() if words in " ".join(process.cmdline())]
    return matching[0] if matching else None


def test_a_full_disk_ends_no_cluster_and_is_over_when_it_is_over(disk: SmallDisk) -> None:
    with standin_cluster(disk.folder) as cluster:
        launcher = cluster.launch()
        cluster.healthy()
        old_log = cluster.data / "logs" / "owner.log.3"
        old_log.write_bytes(b"x" * 2**20)
        disk.fill()
        until(lambda: None if old_log.exists() else True, "old logs to give way")
        disk.fill()
        owner = cluster.owner_pid()
        for _ in range(300):  # each is a line in a log that takes none
            assert cluster.owner_pid() == owner

        supervisord = named(cluster, "supervision.daemon")
        assert supervisord is not None
        supervisord.kill()  # everything is started again on the full disk
        until(lambda: pid if (pid := cluster.owner_pid()) not in (None, owner) else None, "the owner to come back")
        until(lambda: named(cluster, "standin_cluster engine"), "the engine to come back")
        assert launcher.poll() is None

        disk.free()
        log = cluster.data / "logs" / "owner.log"
        size = log.stat().st_size
        until(lambda: (cluster.owner_pid(), log.stat().st_size > size)[1] or None, "logs to be written again")
        disk.fill()
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(60) == 0
        assert cluster.processes() == []
        assert "Traceback" not in cluster.output.read_text()


def test_a_program_that_hangs_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    reports: list[str] = []
    url = f"http://127.0.0.1:{port}"

    def pid() -> int | None:
        try:
            return int(httpx.get(f"{url}/healthz", timeout=1).json()["pid"])
        except httpx.TransportError:
            return None

    service = Service(
        Program("server", standin_command("serve", str(port))),
        lambda: None if pid() else "starts",
        answers_at(url),
    )
    cluster = Cluster(
        tmp_path / "data", tmp_path / "logs", ROOT, [service], threading.Event(), reports.append, hung_seconds=6.0
    )
    try:
        assert cluster.start()
        hung = pid()
        assert hung is not None

        def replaced() -> int | None:
            cluster.restart_failed()
            return now if (now := pid()) not in (None, hung) else None

        for _ in range(30):  # it has answered before it hangs
            cluster.restart_failed()
            threading.Event().wait(0.1)
        os.kill(hung, signal.SIGSTOP)
        until(replaced, "a program in place of the one that hangs")
        assert any("server hangs" in line for line in reports)
    finally:
        cluster.end()
    assert not psutil.pid_exists(hung)


def test_a_log_that_cannot_be_rotated_takes_nobody_along(disk: SmallDisk, tmp_path: Path) -> None:
    """A program that writes more than its log may hold, on a disk that is full before the log is rotated."""
    script = tmp_path / "talker.py"
    script.write_text("import time\nwhile True:\n    print('x' * 200, flush=True)\n    time.sleep(0.002)\n")
    talker = Service(Program("talker", (sys.executable, str(script))), lambda: None)
    folder = disk.folder
    cluster = Cluster(folder / "data", folder / "logs", ROOT, [talker], threading.Event(), print, LogLimit(50_000, 2))
    try:
        assert cluster.start()
        log = folder / "logs" / "talker.log"
        until(lambda: log.stat().st_size > 10_000 or None if log.exists() else None, "a log")
        disk.fill()
        [pid] = [state["pid"] for state in cluster._supervisor.program_states()]
        threading.Event().wait(3)
        assert [state["pid"] for state in cluster._supervisor.program_states()] == [pid]
        disk.free()
        newest = log.stat().st_mtime_ns
        until(lambda: log.stat().st_mtime_ns > newest or None if log.exists() else None, "the log to go on")
        assert [state["pid"] for state in cluster._supervisor.program_states()] == [pid]
    finally:
        cluster.end()


def test_a_corrupt_key_file_starts_nothing_and_is_named(tmp_path: Path) -> None:
    with standin_cluster(tmp_path) as cluster:
        cluster.data.mkdir()
        (cluster.data / "keys.json").write_text('{"stage": "a", "worker": "b\\n", "operator": "c"}')
        assert cluster.launch().wait(120) == 1
        output = cluster.output.read_text()
        assert "keys.json" in output and "Traceback" not in output
        assert cluster.processes() == []


def test_a_data_folder_that_is_read_only_is_told_of(disk: SmallDisk, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"general: {{model_name: understudy, data_folder: {disk.folder}, owner_port: {free_port()}}}\n")
    (disk.folder / "logs").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
    commands = (
        ["-m", "wmkml.launcher", "start"],
        ["-m", "wmkml.launcher"],
        ["owner.py"],
        ["-m", "wmkml", "pin", "--login"],
    )
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command, "--config", str(config)],
            cwd=ROOT,
            env=os.environ | {"WMKML_GPUS": "0"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in (1, 2), command
        assert "Read-only file system" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_supervisord_looks_for_what_has_ended_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(poller, "Poller", poller.Poller)  # put back afterwards
    use_quick_polls()
    monkeypatch.setattr(poller.PollPoller, "poll", lambda _self, timeout: waits.append(timeout))
    quick = poller.Poller(None)
    for timeout in (1, 0.01):
        quick.poll(timeout)
    assert waits == [0.1, 0.01]


def test_after_the_end_of_supervisord_nobody_waits_long_for_the_first_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmkml.launcher.supervision.cluster.FIRST_SECONDS", 0.5)
    reasons: list[str] = []  # why the first one is not ready
    stop_event = threading.Event()
    services = [
        Service(Program(name, standin_command("serve", str(free_port()))), pending)
        for name, pending in (("first", lambda: reasons[0] if reasons else None), ("second", lambda: None))
    ]
    cluster = Cluster(tmp_path / "data", tmp_path / "logs", ROOT, services, stop_event, lambda _line: None)

    def running() -> dict[str, int]:
        states = Supervisor(cluster.files.socket).program_states()
        return {state["name"]: state["pid"] for state in states if state["pid"]}

    try:
        assert cluster.start()
        before = until(lambda: pids if len(pids := running()) == 2 else None, "both")
        reasons.append("starts and starts")
        daemon = psutil.Process(before["first"]).parent()
        assert daemon is not None
        daemon.kill()
        until(lambda: None if psutil.pid_exists(daemon.pid) and daemon.status() != "zombie" else True, "its end")
        assert not cluster.wait(30), "it notices the end, and no stop was asked for"
        cluster.restart_failed()
        after = running()
        assert set(after) == {"first", "second"} and not set(after.values()) & set(before.values())
    finally:
        cluster.end()
