"""`start`, `stop` and `status`: a cluster in the background, which lives on when the terminal is closed.

`start` runs the same launcher, detached, and prints its output until it is healthy; `stop` sends it SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from wmkml.access.keys import KeysUnreadableError, load_keys
from wmkml.access.tls import CertificateError, owner_verification
from wmkml.config.paths import Paths
from wmkml.launcher.cluster_record import ClusterRecord, is_locked, read_record
from wmkml.launcher.supervision.supervisor import Supervisor, SupervisordUnavailableError, cluster_mark
from wmkml.problems.printing import Language, problem_lines
from wmkml.protocol.desk import DeskProblem, ProblemList
from wmkml.system.duration_text import duration_text
from wmkml.system.orphans import end_marked_processes

STOP_SECONDS = 60.0
"""How long the launcher may take to end its cluster before it is killed: longer than `END_SECONDS` of supervision."""


def start(arguments: Sequence[str], data: Path, logs: Path) -> int:
    """Start the launcher in the background; returns 0 once the cluster is healthy, or the launcher's status if it ends."""
    if is_locked(data):
        print(f"A cluster already runs on {data}. See it with ./master_script.sh status.", file=sys.stderr)
        return 1
    log = logs / "launcher.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        log.touch(mode=0o600)
        log.chmod(0o600)  # It contains the stage's address with its key.
        log.write_bytes(b"")
        output = log.open("ab")  # where room is made on a nearly full disk, the launcher goes on at the new end
    except OSError as error:
        print(
            f"general.data_folder: {logs} cannot be written ({error.strerror}). Name another folder.", file=sys.stderr
        )
        return 1
    with output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wmkml.launcher", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        return _print_until_healthy(process, log, data)
    except KeyboardInterrupt:
        print("Ending what was started …")
        process.terminate()
        process.wait()
        return 130


def _print_until_healthy(process: subprocess.Popen[bytes], log: Path, data: Path) -> int:
    with log.open(encoding="utf-8", errors="replace") as lines:
        while True:
            print(lines.read(), end="", flush=True)
            if (status := process.poll()) is not None:
                print(lines.read(), end="", flush=True)
                return status
            record = read_record(data)
            if record is not None and record.pid == process.pid and record.phase == "healthy":
                # The launcher prints the addresses right after it has recorded that it is healthy.
                time.sleep(0.3)
                print(lines.read(), end="", flush=True)
                print("It runs in the background. ./master_script.sh status shows it, ./master_script.sh stop ends it.")
                return 0
            time.sleep(0.1)


def stop(data: Path) -> int:
    """End the cluster of this data folder; returns 0, also if there is none."""
    record = read_record(data)
    if record is None:
        ended = end_marked_processes(cluster_mark(data))
        print(f"No cluster runs on {data}." + (f" Ended what was left: {', '.join(ended)}." if ended else ""))
        return 0
    print(f"Ending the cluster on {data} …", flush=True)
    try:
        launcher = psutil.Process(record.pid)
        os.kill(record.pid, signal.SIGTERM)
        launcher.wait(STOP_SECONDS)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass  # It ended meanwhile.
    except psutil.TimeoutExpired:
        os.kill(record.pid, signal.SIGKILL)
    end_marked_processes(cluster_mark(data))
    print("All have ended.")
    return 0


def status(paths: Paths, language: Language) -> int:
    """Print a line for each process, the ports, the state of the run, and every problem with its cause and what to do.

    Args:
        language: of the problems.

    Returns:
        0 if a cluster is healthy here, else 3.
    """
    record = read_record(paths.data)
    if record is None:
        print(f"No cluster runs on {paths.data}.")
        _print_problems([DeskProblem(code="not_running")], language)
        return 3
    print(f"{record.phase}; up {duration_text(time.time() - record.started)}; launcher is process {record.pid}")
    for line in _process_lines(record):
        print(line)
    print(f"  owner      {record.owner_url}")
    print(f"  inference  {record.inference_url}")
    for line in _node_lines(record):
        print(line)
    print(f"  run        {_run_text(record, paths)}")
    _print_problems(_problems(record, paths), language)
    return 0 if record.phase == "healthy" else 3


def _process_lines(record: ClusterRecord) -> list[str]:
    try:
        states = Supervisor(Path(record.socket)).program_states()
    except SupervisordUnavailableError:
        return ["  supervisor does not answer (yet)"]
    lines = []
    for state in states:
        seconds = state["now"] - state["start"]
        detail = f"up {duration_text(seconds)}, process {state['pid']}" if state["pid"] else state["spawnerr"] or ""
        lines.append(f"  {state['name']:<10} {str(state['statename']).lower():<9} {detail}")
    return lines


def _print_problems(problems: Sequence[DeskProblem], language: Language) -> None:
    for problem in problems:
        print("\n" + "\n".join(problem_lines(problem.code, problem.detail, language)))


def _problems(record: ClusterRecord, paths: Paths) -> list[DeskProblem]:
    """What the owner names, and what can be seen from outside alone."""
    problems = []
    with suppress(SupervisordUnavailableError):
        failing = [
            state["name"]
            for state in Supervisor(Path(record.socket)).program_states()
            if state["statename"] in ("BACKOFF", "FATAL")
        ]
        if failing:
            problems.append(DeskProblem(code="process_failing", detail=", ".join(failing)))
    try:
        headers = {"X-Key": load_keys(paths).operator} if paths.keys.is_file() else {}
        answer = httpx.get(
            f"{record.owner_url}/operator/problems",
            headers=headers,
            timeout=5.0,
            trust_env=False,
            verify=owner_verification(paths),
        )
        return problems + ProblemList.model_validate(answer.json()).problems
    except (KeysUnreadableError, OSError) as error:
        return [*problems, DeskProblem(code="keys", detail=str(error))]
    except (
        httpx.TransportError,
        ValueError,
    ):  # its certificate is gone, it starts, or another program answers in its place
        return [*problems, DeskProblem(code="owner_away")]


def _node_lines(record: ClusterRecord) -> list[str]:
    try:
        answer = httpx.get(f"{record.inference_url}/healthz", timeout=5.0, trust_env=False)
        nodes = answer.json().get("nodes", [])
    except (httpx.TransportError, ValueError):
        return []
    lines = []
    for node in nodes:
        detail = f": {node['reason']}" if node["reason"] else f", {node['answers']} answers under way"
        lines.append(f"  node       {node['address']} {node['state']}{detail}")
    return lines


def _run_text(record: ClusterRecord, paths: Paths) -> str:
    try:
        verify = owner_verification(paths)
        answer = httpx.get(f"{record.owner_url}/state", timeout=5.0, trust_env=False, verify=verify)
    except (httpx.TransportError, CertificateError):
        return "unknown: the owner does not answer"
    if answer.status_code != 200:
        return f"unknown: the owner answers with status {answer.status_code}"
    state = answer.json()
    if state["phase"] == "waiting":
        return "none: a language is awaited"
    left = state["time_left_seconds"]
    rest = f", {duration_text(left)} left" if left is not None else ""
    return f"{state['phase']}, language {state['language']}, iteration {state['iteration']}{rest}"
