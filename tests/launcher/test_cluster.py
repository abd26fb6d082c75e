"""The launcher and its supervision, with real processes: a killed service is restarted, and at the end no process is left.

The services are stand-ins here; `test_cluster_services.py` starts the real ones.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import yaml

from tests.launcher.launched_standins import ROOT, StandinCluster, standin_cluster, until
from wmkml.config import Settings
from wmkml.config.arguments import ResolvedSettings
from wmkml.launcher.cluster_record import ClusterLock, read_record
from wmkml.launcher.launch import CannotStartError
from wmkml.launcher.machine import Machine
from wmkml.launcher.rehearsal import rehearsal_settings, rehearse
from wmkml.launcher.supervision.supervisor import Supervisor
from wmkml.system.gpus import pretended_gpus

pytestmark = pytest.mark.process

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a cluster."""


@pytest.fixture
def standins(tmp_path: Path) -> Iterator[StandinCluster]:
    with standin_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandinCluster]:
    """A healthy cluster for the tests after which it is healthy; the last of them kills its launcher and starts it again."""
    with standin_cluster(tmp_path_factory.mktemp("shared")) as cluster:
        cluster.launch()
        cluster.healthy()
        yield cluster


@pytest.fixture(scope="module")
def to_be_ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[signal.Signals, StandinCluster]]:
    """A cluster for each signal that ends one, all launched at once; most of a start is waiting."""
    with ExitStack() as stack:
        folders = {number: tmp_path_factory.mktemp(number.name) for number in ENDING}
        clusters = {number: stack.enter_context(standin_cluster(folder)) for number, folder in folders.items()}
        for cluster in clusters.values():
            cluster.launch()
        yield clusters


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not belong to the cluster."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


# --- a cluster that goes on ------------------------------------------------------------------------------------------


def test_the_owner_is_ready_before_the_others_are_started(shared: StandinCluster) -> None:
    record = read_record(shared.data)
    assert record is not None
    pids = {state["name"]: state["pid"] for state in Supervisor(Path(record.socket)).program_states()}
    owner, engine = (psutil.Process(pids[name]).create_time() for name in ("owner", "engine"))
    assert owner < engine
    output = shared.output.read_text()
    assert output.index("owner is ready") < output.index("engine is ready")


def test_secrets_are_for_their_owner_alone(shared: StandinCluster) -> None:
    for name in ("settings.yaml", "supervisor/supervisord.conf", "logs/owner.log", "logs/supervisord.log"):
        assert (shared.data / name).stat().st_mode & 0o077 == 0
    assert (shared.data / "logs").stat().st_mode & 0o077 == 0


def test_a_second_cluster_on_the_same_data_folder_is_refused(shared: StandinCluster) -> None:
    before = shared.owner_pid()
    second = subprocess.run(
        [sys.executable, "-m", "tests.launcher.standin_cluster", "launch", str(shared.config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"A cluster already runs on {shared.data}" in second.stderr
    assert shared.owner_pid() == before


def test_what_supervisor_gives_up_on_is_started_again(shared: StandinCluster) -> None:
    record = read_record(shared.data)
    assert record is not None
    supervisor = Supervisor(Path(record.socket))
    states = {"late": ""}

    def reached(wanted: set[str]) -> bool:
        states.update({state["name"]: state["statename"] for state in supervisor.program_states()})
        return states["late"] in wanted

    until(lambda: reached({"BACKOFF", "FATAL"}) or None, "a start in vain")
    (shared.folder / "now").touch()
    until(lambda: reached({"RUNNING"}) or None, "a start that succeeds")
    # Supervisor calls it running after a second, in which a busy machine may not have come to the program's first line.
    until(lambda: (shared.folder / "late.pid").is_file() or None, "the program's own sign")
    # Said each time that supervisor gives up, which on a busy machine is more than once before this test looks.
    lines = [line for line in shared.output.read_text().splitlines() if "late ended at once" in line]
    assert lines
    assert all(line.endswith("late.log: There is no permission.") for line in lines)


def test_a_killed_service_comes_back_and_the_others_stay(shared: StandinCluster) -> None:
    first = until(shared.owner_pid, "an answer")
    engine = shared.engine()
    os.kill(first, signal.SIGKILL)
    second = until(lambda: pid if (pid := shared.owner_pid()) not in (None, first) else None, "the owner's return")
    assert second != first
    assert shared.engine() == engine
    assert psutil.pid_exists(engine["child"])
    assert "asked" in (shared.data / "logs" / "owner.log").read_text()


def test_a_killed_supervisor_comes_back_with_its_services(shared: StandinCluster) -> None:
    first, engine = shared.owner_pid(), shared.engine()
    os.kill(int((shared.data / "supervisor" / "supervisord.pid").read_text()), signal.SIGKILL)
    until(lambda: pid if (pid := shared.owner_pid()) not in (None, first) else None, "the owner's return")
    until(lambda: shared.engine()["pid"] != engine["pid"] or None, "the engine's return")
    assert not psutil.pid_exists(engine["child"])


def test_killing_the_launcher_ends_everything(shared: StandinCluster, bystander: subprocess.Popen[bytes]) -> None:
    launcher = shared.launcher
    assert launcher is not None
    child = shared.engine()["child"]
    launcher.kill()
    launcher.wait()
    until(lambda: not shared.processes() or None, "the end of every process")
    assert not psutil.pid_exists(child)
    assert bystander.poll() is None
    # The next start succeeds.
    (shared.folder / "engine.json").unlink()
    shared.launch()
    shared.healthy()


# --- a cluster that ends, and one that does not begin ----------------------------------------------------------------


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_ends_everything_and_nothing_else(
    to_be_ended: dict[signal.Signals, StandinCluster], bystander: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    standins = to_be_ended[number]
    standins.healthy()
    launcher = standins.launcher
    assert launcher is not None
    child = standins.engine()["child"]
    assert child in {process.pid for process in standins.processes()}
    launcher.send_signal(number)
    assert launcher.wait(60) == 0
    assert standins.processes() == []
    assert not psutil.pid_exists(child)
    assert bystander.poll() is None
    assert read_record(standins.data) is None


def test_a_port_in_use_is_named_before_anything_starts(standins: StandinCluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", standins.port))
        taken.listen()
        launcher = standins.launch()
        assert launcher.wait(60) == 1
    output = standins.output.read_text()
    assert f"general.owner_port: port {standins.port} is in use" in output
    assert str(os.getpid()) in output
    assert standins.processes() == []
    assert not (standins.data / "supervisor").exists()


def test_every_problem_is_told_at_once(standins: StandinCluster) -> None:
    standins.config.write_text(
        standins.config.read_text()
        + "finetuning: {dataset_array: [[alltag_de], [nowhere]]}\n".replace("nowhere", "nowhere_to_be_found")
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", standins.port))
        taken.listen()
        assert standins.launch().wait(60) == 1
    output = standins.output.read_text()
    assert "general.owner_port" in output
    assert "there is no data set nowhere_to_be_found" in output
    assert "alltag_de" in output


@pytest.mark.parametrize("verified", [True, False])
def test_verification_mode_reports_problems_of_prompt_sets_by_line_before_anything_starts(
    standins: StandinCluster, verified: bool
) -> None:
    file = standins.folder / "sets" / "halb" / "prompts.csv"
    file.parent.mkdir(parents=True)
    file.write_text("Was ist Brot?\n\n[INST] Was ist Zeit?\n", encoding="utf-8")
    settings = yaml.safe_load(standins.config.read_text())
    settings["general"] |= {"datasets_folder": str(file.parent.parent), "verification_mode": verified}
    settings["finetuning"] = {"dataset_array": [["halb"], ["nowhere"]]}
    standins.config.write_text(yaml.safe_dump(settings))
    assert standins.launch().wait(60) == 1
    output = standins.output.read_text()
    assert "there is no data set nowhere" in output
    reported = [f"{file}, line {line}: {severity}: " in output for line, severity in ((2, "warning"), (3, "error"))]
    assert reported == [verified, verified]


@pytest.mark.parametrize("name", ['a "quoted" folder', "a folder ;with a semicolon"])
def test_a_path_that_supervision_cannot_read_is_told_before_anything_starts(tmp_path: Path, name: str) -> None:
    cluster = StandinCluster(tmp_path)
    data = tmp_path / name / "data"
    cluster.config.write_text(cluster.config.read_text().replace("{model", f"{{data_folder: '{data}', model"))
    assert cluster.launch().wait(60) == 1
    output = cluster.output.read_text()
    assert "general.data_folder" in output
    assert "Choose another" in output
    assert "Traceback" not in output
    assert not (data / "supervisor").exists()


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


@pytest.mark.parametrize("temporary", ["/tmp", "long"])
def test_a_data_folder_with_a_long_path(tmp_path: Path, temporary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("long " * 25).strip()
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long) if temporary == "long" else temporary)
    cluster = StandinCluster(tmp_path)
    cluster.data = long / "data"
    cluster.config.write_text(cluster.config.read_text().replace("{model", f"{{data_folder: '{cluster.data}', model"))
    launcher = cluster.launch()
    try:
        cluster.healthy()
        record = read_record(cluster.data)
        assert record is not None
        assert not record.socket.startswith(str(long))
    finally:
        launcher.terminate()
        assert launcher.wait(60) == 0
    assert not Path(record.socket).parent.exists()
    assert cluster.processes() == []


# --- the rehearsal's own cluster -------------------------------------------------------------------------------------


def test_a_rehearsal_beside_a_cluster_on_the_gpus_is_refused(tmp_path: Path) -> None:
    resolved = ResolvedSettings(Settings(), tmp_path, ())
    machine = Machine(pretended_gpus("1"), 8, 64.0, False, True)
    with ClusterLock(tmp_path / "data"), pytest.raises(CannotStartError, match="the GPUs are its own"):
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
    ("words", "sentence"),
    [
        (["--rehearse", "0"], "--rehearse 0 is not allowed"),
        (["--report", "r.json"], "--report belongs to --rehearse"),
        (["--rehearse", "1", "--report", "/nowhere/r.json"], "its folder does not exist"),
        (["--config", "/nowhere.yaml"], "does not exist"),
        (["--set", "finetuning.batch_sise=8"], "did you mean batch_size?"),
    ],
)
def test_a_wrong_word_is_answered_with_a_sentence(words: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wmkml.launcher", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
