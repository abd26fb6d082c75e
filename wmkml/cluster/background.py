"""`start`, `stop` and `status`: a cluster that lives on when the terminal is closed.

`start` runs the same launcher, detached, and relays what it tells until it is healthy; `stop` asks it to end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from wmkml.cluster.record import Record, is_locked, read_record
from wmkml.cluster.supervision import MARKER_VARIABLE, Supervisor, SupervisorAway
from wmkml.cluster.sweep import end_marked

STOP_SECONDS = 60.0


def start(words: Sequence[str], data: Path, logs: Path) -> int:
    """Start the launcher with these arguments in the background; returns when it is healthy (0) or has ended (its status)."""
    if is_locked(data):
        print(f"A cluster already runs on {data}. See it with ./master_script.sh status.", file=sys.stderr)
        return 1
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "launcher.log"
    log.touch(mode=0o600)
    log.chmod(0o600)  # it names the stage's address with its key
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "wmkml.cluster", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        return _relay(process, log, data)
    except KeyboardInterrupt:
        print("Ending what was started …")
        process.terminate()
        process.wait()
        return 130


def _relay(process: subprocess.Popen[bytes], log: Path, data: Path) -> int:
    with log.open(encoding="utf-8", errors="replace") as lines:
        while True:
            print(lines.read(), end="", flush=True)
            if (status := process.poll()) is not None:
                print(lines.read(), end="", flush=True)
                return status
            record = read_record(data)
            if record is not None and record.pid == process.pid and record.phase == "healthy":
                # The launcher says where to go right after it has noted that it is healthy.
                time.sleep(0.3)
                print(lines.read(), end="", flush=True)
                print("It runs in the background. ./master_script.sh status shows it, ./master_script.sh stop ends it.")
                return 0
            time.sleep(0.1)


def stop(data: Path) -> int:
    """End the cluster of this data folder; 0 also when none lives there."""
    record = read_record(data)
    if record is None:
        left = end_marked(MARKER_VARIABLE, str(data))
        print(f"No cluster runs on {data}." + (f" Ended what was left: {', '.join(left)}." if left else ""))
        return 0
    print(f"Ending the cluster on {data} …", flush=True)
    try:
        launcher = psutil.Process(record.pid)
        os.kill(record.pid, signal.SIGTERM)
        launcher.wait(STOP_SECONDS)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass  # It ended meanwhile, as it should.
    except psutil.TimeoutExpired:
        os.kill(record.pid, signal.SIGKILL)
    end_marked(MARKER_VARIABLE, str(data))
    print("All have ended.")
    return 0


def status(data: Path) -> int:
    """Print a line for each process, the ports and how far the run is; 0 when a cluster lives and is healthy, else 3."""
    record = read_record(data)
    if record is None:
        print(f"No cluster runs on {data}.")
        return 3
    print(f"{record.phase}; up {_duration(time.time() - record.started)}; launcher is process {record.pid}")
    for line in _processes(record):
        print(line)
    print(f"  owner      {record.owner_url}")
    print(f"  inference  {record.inference_url}")
    print(f"  run        {_run(record)}")
    return 0 if record.phase == "healthy" else 3


def _processes(record: Record) -> list[str]:
    try:
        states = Supervisor(Path(record.socket)).states()
    except SupervisorAway:
        return ["  supervisor does not answer (yet)"]
    lines = []
    for one in states:
        up = f"up {_duration(one['now'] - one['start'])}, process {one['pid']}" if one["pid"] else one["spawnerr"] or ""
        lines.append(f"  {one['name']:<10} {str(one['statename']).lower():<9} {up}")
    return lines


def _run(record: Record) -> str:
    try:
        answer = httpx.get(f"{record.owner_url}/state", timeout=5.0)
    except httpx.TransportError:
        return "unknown: the owner does not answer"
    if answer.status_code != 200:
        return f"unknown: the owner answers with status {answer.status_code}"
    state = answer.json()
    if state["phase"] == "waiting":
        return "none: a language is awaited"
    left = state["time_left_seconds"]
    rest = f", {_duration(left)} left" if left is not None else ""
    return f"{state['phase']}, language {state['language']}, iteration {state['iteration']}{rest}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
