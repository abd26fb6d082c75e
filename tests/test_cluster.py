"""The launcher and its supervision, with real processes: whatever is killed comes back, and an ending ends everything.

The services are stand-ins here; `test_cluster_services.py` starts the real ones.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from wmkml.cluster.arguments import Resolved
from wmkml.cluster.launching import CannotStart
from wmkml.cluster.machine import Machine, pretended_gpus
from wmkml.cluster.ports import free_port
from wmkml.cluster.record import ClusterLock, read_record
from wmkml.cluster.rehearsing import rehearsal_settings, rehearse
from wmkml.cluster.supervision import MARKER_VARIABLE, Supervisor
from wmkml.cluster.sweep import end_marked, marked
from wmkml.config import Settings

ROOT = Path(__file__).parent.parent

T = TypeVar("T")


def until(found: Callable[[], T | None], what: str, seconds: float = 60.0) -> T:
    """Look again and again until there is something; a test that waits in vain says for what."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(0.1)
    pytest.fail(f"{what} did not happen within {seconds:.0f} s")


class Standins:
    """A data folder, a config and a launcher with stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.port = folder, folder / "data", free_port()
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"general: {{model_name: understudy, owner_port: {self.port}, inference_port: {free_port()}, "
            f"owner_host: 127.0.0.1, datasets_folder: {ROOT / 'Datasets'}}}\n"
        )
        self.output = folder / "launcher.txt"
        self.launcher: subprocess.Popen[bytes] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", "tests.standin_cluster", "launch", str(self.config)],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.launcher

    def healthy(self) -> None:
        def look() -> bool | None:
            assert self.launcher is not None
            assert self.launcher.poll() is None, self.output.read_text()
            record = read_record(self.data)
            return True if record and record.phase == "healthy" else None

        until(look, "a healthy cluster")

    def owner_pid(self) -> int | None:
        try:
            return int(httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).json()["pid"])
        except httpx.TransportError:
            return None

    def processes(self) -> list[psutil.Process]:
        return marked(MARKER_VARIABLE, str(self.data))

    def engine(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.folder / "engine.json").read_text())
        return found


@pytest.fixture
def standins(tmp_path: Path) -> Iterator[Standins]:
    cluster = Standins(tmp_path)
    yield cluster
    if cluster.launcher is not None and cluster.launcher.poll() is None:
        cluster.launcher.kill()
        cluster.launcher.wait()
    end_marked(MARKER_VARIABLE, str(cluster.data))


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the cluster's."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_killed_service_comes_back_and_the_others_stay(standins: Standins) -> None:
    standins.launch()
    standins.healthy()
    first = until(standins.owner_pid, "an answer")
    engine = standins.engine()
    os.kill(first, signal.SIGKILL)
    second = until(lambda: pid if (pid := standins.owner_pid()) not in (None, first) else None, "the owner's return")
    assert second != first
    assert standins.engine() == engine
    assert psutil.pid_exists(engine["child"])
    assert "asked" in (standins.data / "logs" / "owner.log").read_text()


def test_what_supervisor_gives_up_on_is_started_again(standins: Standins) -> None:
    standins.launch()
    standins.healthy()
    record = read_record(standins.data)
    assert record is not None
    supervisor = Supervisor(Path(record.socket))
    states = {"late": ""}

    def seen(wanted: set[str]) -> bool:
        states.update({one["name"]: one["statename"] for one in supervisor.states()})
        return states["late"] in wanted

    until(lambda: seen({"BACKOFF", "FATAL"}) or None, "a start in vain")
    (standins.folder / "now").touch()
    until(lambda: seen({"RUNNING"}) or None, "a start that succeeds")
    assert (standins.folder / "late.pid").is_file()
    assert "late ended at once" in standins.output.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_everything_and_nothing_else(
    standins: Standins, bystander: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    launcher = standins.launch()
    standins.healthy()
    child = standins.engine()["child"]
    assert child in {process.pid for process in standins.processes()}
    launcher.send_signal(number)
    assert launcher.wait(60) == 0
    assert standins.processes() == []
    assert not psutil.pid_exists(child)
    assert bystander.poll() is None
    assert read_record(standins.data) is None


def test_killing_the_launcher_ends_everything(standins: Standins, bystander: subprocess.Popen[bytes]) -> None:
    launcher = standins.launch()
    standins.healthy()
    child = standins.engine()["child"]
    launcher.kill()
    launcher.wait()
    until(lambda: not standins.processes() or None, "the end of every process")
    assert not psutil.pid_exists(child)
    assert bystander.poll() is None
    # And the next start finds nothing in its way.
    (standins.folder / "engine.json").unlink()
    standins.launch()
    standins.healthy()


def test_a_killed_supervisor_comes_back_with_its_services(standins: Standins) -> None:
    standins.launch()
    standins.healthy()
    first, engine = standins.owner_pid(), standins.engine()
    os.kill(int((standins.data / "supervisor" / "supervisord.pid").read_text()), signal.SIGKILL)
    until(lambda: pid if (pid := standins.owner_pid()) not in (None, first) else None, "the owner's return")
    until(lambda: standins.engine()["pid"] != engine["pid"] or None, "the engine's return")
    assert not psutil.pid_exists(engine["child"])


def test_a_second_cluster_on_the_same_data_folder_is_refused(standins: Standins) -> None:
    standins.launch()
    standins.healthy()
    before = standins.owner_pid()
    second = subprocess.run(
        [sys.executable, "-m", "tests.standin_cluster", "launch", str(standins.config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"A cluster already runs on {standins.data}" in second.stderr
    assert standins.owner_pid() == before


def test_a_port_in_use_is_named_before_anything_starts(standins: Standins) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", standins.port))
        taken.listen()
        launcher = standins.launch()
        assert launcher.wait(60) == 1
    told = standins.output.read_text()
    assert f"general.owner_port: port {standins.port} is in use" in told
    assert str(os.getpid()) in told
    assert standins.processes() == []
    assert not (standins.data / "supervisor").exists()


def test_every_problem_is_told_at_once(standins: Standins) -> None:
    standins.config.write_text(
        standins.config.read_text()
        + "finetuning: {dataset_array: [[alltag_de], [nowhere]]}\n".replace("nowhere", "nowhere_to_be_found")
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", standins.port))
        taken.listen()
        assert standins.launch().wait(60) == 1
    told = standins.output.read_text()
    assert "general.owner_port" in told
    assert "there is no data set nowhere_to_be_found" in told
    assert "alltag_de" in told


@pytest.mark.parametrize("name", ['a "quoted" folder', "a folder ;with a semicolon"])
def test_a_path_that_supervision_cannot_read_is_told_before_anything_starts(tmp_path: Path, name: str) -> None:
    cluster = Standins(tmp_path)
    data = tmp_path / name / "data"
    cluster.config.write_text(cluster.config.read_text().replace("{model", f"{{data_folder: '{data}', model"))
    assert cluster.launch().wait(60) == 1
    told = cluster.output.read_text()
    assert "general.data_folder" in told
    assert "choose another" in told
    assert "Traceback" not in told
    assert not (data / "supervisor").exists()


def test_the_owner_is_ready_before_the_others_are_started(standins: Standins) -> None:
    standins.launch()
    standins.healthy()
    record = read_record(standins.data)
    assert record is not None
    pids = {one["name"]: one["pid"] for one in Supervisor(Path(record.socket)).states()}
    owner, engine = (psutil.Process(pids[name]).create_time() for name in ("owner", "engine"))
    assert owner < engine
    told = standins.output.read_text()
    assert told.index("owner is ready") < told.index("engine is ready")


def test_a_second_start_installs_nothing(tmp_path: Path) -> None:
    def start() -> str:
        command = ["./master_script.sh", "--plan", "--set", f"general.data_folder={tmp_path}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=500)
        return done.stdout

    start()
    stamp = ROOT / "env" / "installed.json"
    written = stamp.stat().st_mtime_ns
    assert start().startswith("What runs where")
    assert stamp.stat().st_mtime_ns == written


def test_a_data_folder_with_a_long_path(tmp_path: Path) -> None:
    cluster = Standins(tmp_path)
    cluster.data = tmp_path / ("long " * 25).strip() / "data"
    cluster.config.write_text(cluster.config.read_text().replace("{model", f"{{data_folder: '{cluster.data}', model"))
    launcher = cluster.launch()
    try:
        cluster.healthy()
        record = read_record(cluster.data)
        assert record is not None
        assert not record.socket.startswith(str(cluster.data))
    finally:
        launcher.terminate()
        assert launcher.wait(60) == 0
    assert not Path(record.socket).parent.exists()
    assert cluster.processes() == []


def test_secrets_are_for_their_owner_alone(standins: Standins) -> None:
    standins.launch()
    standins.healthy()
    for name in ("settings.yaml", "supervisor/supervisord.conf", "logs/owner.log", "logs/supervisord.log"):
        assert (standins.data / name).stat().st_mode & 0o077 == 0
    assert (standins.data / "logs").stat().st_mode & 0o077 == 0


# --- the rehearsal's own cluster -------------------------------------------------------------------------------------


def test_a_rehearsal_beside_a_cluster_on_the_gpus_is_refused(tmp_path: Path) -> None:
    resolved = Resolved(Settings(), tmp_path, ())
    machine = Machine(pretended_gpus("1"), 8, 64.0, False, True)
    with ClusterLock(tmp_path / "data"), pytest.raises(CannotStart, match="the GPUs are its own"):
        rehearse(resolved, machine, 1, None)


def test_a_rehearsal_touches_nothing_of_the_installation(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"general": {"osc_ip": "10.0.0.7", "osc_port": 9000, "osc_hosts": ["10.0.0.8:9000"], "keep_runs": True}}
    )
    own = rehearsal_settings(settings, 3, tmp_path / "own")
    assert {own.general.owner_port, own.general.inference_port}.isdisjoint({8000, 8011})
    assert [host for host, _ in own.osc_targets] == ["127.0.0.1"]
    assert own.general.data_folder == str(tmp_path / "own")
    assert own.finetuning.num_total_iters == 3
    assert own.finetuning.minimum_iteration_time < settings.finetuning.minimum_iteration_time
    assert own.finetuning.learning_rate == settings.finetuning.learning_rate


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rehearse", "0"], "--rehearse 0 is not allowed"),
        (["--report", "r.json"], "--report belongs to --rehearse"),
        (["--rehearse", "1", "--report", "/nowhere/r.json"], "its folder does not exist"),
        (["--config", "/nowhere.yaml"], "does not exist"),
        (["--set", "finetuning.batch_sise=8"], "did you mean batch_size?"),
    ],
)
def test_a_wrong_word_is_answered_with_a_sentence(words: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wmkml.cluster", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
