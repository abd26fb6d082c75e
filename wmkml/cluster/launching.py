"""`./master_script.sh` in the foreground: checks, fetches, starts, waits until healthy, tends, ends.

Nothing starts half: whatever is wrong is told at once, before the first process.  Knows the order of things alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from wmkml.addresses import inference_url, owner_url
from wmkml.cluster import preflight
from wmkml.cluster.arguments import PROJECT, Resolved
from wmkml.cluster.machine import Machine
from wmkml.cluster.memory import shape_of
from wmkml.cluster.plan import Plan, make_plan
from wmkml.cluster.ports import own_address
from wmkml.cluster.record import AlreadyLives, ClusterLock, Record, remove_record, write_record
from wmkml.cluster.resolving import with_absolute_places, write_settings
from wmkml.cluster.running import Cluster
from wmkml.cluster.services import Service, services_of
from wmkml.cluster.supervision import MARKER_VARIABLE
from wmkml.cluster.sweep import end_marked, marked
from wmkml.keys import load_keys
from wmkml.pin import load_pin
from wmkml.places import places

TEND_SECONDS = 1.0

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

WhenHealthy = Callable[[Plan, float], list[str]]
"""Given the plan and the seconds it took to start: the command of a program that the cluster lives only for."""


class CannotStart(RuntimeError):
    """Something must be mended first.  Its text is fit for an operator: a sentence for each thing."""


def say(text: str) -> None:
    """Tell the operator, at once."""
    try:
        print(text, flush=True)
    except OSError:
        # The terminal was closed: there is nobody to tell, and the ending must go on all the same.
        return


def plan_of(resolved: Resolved, machine: Machine) -> Plan:
    """The plan for settings that were read.  Reads the model's `config.json`, nothing else."""
    where = places(resolved.settings, resolved.root)
    plan = make_plan(resolved.settings, machine, where, shape_of(resolved.settings.general.model_name, where.model))
    return replace(plan, notices=(*resolved.notices, *plan.notices))


def launch(plan: Plan, services: list[Service] | None = None, play: WhenHealthy | None = None) -> int:
    """Run a cluster until a signal ends it, or until the program that it is played by has ended.

    Args:
        plan: what runs where.
        services: in place of the plan's own.
        play: a program to run once everything is healthy; its exit status becomes ours.

    Returns:
        0 after an ending that was asked for, else the program's status.

    Raises:
        CannotStart: before anything was started.
    """
    stop = _stop_on_signals()
    began = time.monotonic()
    plan = replace(plan, settings=with_absolute_places(plan.settings, plan.places))
    try:
        with ClusterLock(plan.places.data):
            return _launch_locked(plan, services, play, stop, began)
    except AlreadyLives:
        raise CannotStart(
            f"A cluster already runs on {plan.places.data}. See it with ./master_script.sh status, "
            "end it with ./master_script.sh stop."
        ) from None


def _launch_locked(
    plan: Plan, services: list[Service] | None, play: WhenHealthy | None, stop: threading.Event, began: float
) -> int:
    data = plan.places.data
    _let_an_earlier_one_end(data, stop)
    for notice in plan.notices:
        say(f"Note: {notice}")
    for warning in preflight.warnings(plan):
        say(warning)
    if problems := preflight.problems(plan):
        raise CannotStart("\n".join(problems))
    settings_file = write_settings(plan.settings, plan.places)
    if preflight.needs_download(plan) and not _download(plan, settings_file, stop):
        return 0
    cluster = Cluster(data, plan.places.logs, PROJECT, services or services_of(plan, settings_file), stop, say)
    record = Record(
        os.getpid(),
        "starting",
        time.time(),
        str(cluster.place.socket),
        str(settings_file),
        owner_url(plan.settings),
        inference_url(plan.settings),
    )
    write_record(data, record)
    try:
        names = ", ".join(process.name for process in plan.processes)
        engine, model = plan.settings.inference.engine, plan.settings.general.model_name
        say(f"Starting {names} with {model} ({engine}). Ctrl-C ends everything.")
        if not cluster.start() or not cluster.wait_until_ready():
            return 0
        seconds = time.monotonic() - began
        say(f"Everything is healthy after {seconds:.0f} s.")
        write_record(data, Record(**{**vars(record), "phase": "healthy"}))
        if play is not None:
            return _play(play(plan, seconds), cluster, stop)
        for line in where_to_go(plan):
            say(line)
        while not stop.wait(TEND_SECONDS):
            cluster.tend()
        return 0
    finally:
        say("Ending every process …")
        write_record(data, Record(**{**vars(record), "phase": "ending"}))
        cluster.end()
        remove_record(data)
        say("All have ended.")


def where_to_go(plan: Plan) -> Iterable[str]:
    """The lines that tell an operator where everything is."""
    port = plan.settings.general.owner_port
    yield ""
    yield f"  talk       http://localhost:{port}/"
    if plan.settings.general.owner_host in ("0.0.0.0", "::") and (address := own_address()):
        yield f"             http://{address}:{port}/ from another machine"
    yield f"  stage      http://localhost:{port}/stage?key={load_keys(plan.places).stage}"
    yield f"  desk       http://localhost:{port}/desk, PIN {load_pin(plan.places)}"
    yield f"  keys       {plan.places.keys} (stage, worker, operator)"
    yield f"  logs       {plan.places.logs}"
    for host, osc_port in plan.settings.osc_targets:
        yield f"  OSC        {host}:{osc_port}"
    yield ""


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in ENDING_SIGNALS:
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _let_an_earlier_one_end(data: Path, stop: threading.Event) -> None:
    """A launcher that was killed leaves its supervisor a few seconds in which it ends everything in order."""
    if not marked(MARKER_VARIABLE, str(data)):
        return
    say("An earlier cluster on this data folder is still ending; waiting for it.")
    for _ in range(150):
        if stop.wait(0.1) or not marked(MARKER_VARIABLE, str(data)):
            return
    # The lock is ours, so nobody looks after them any more.
    say(f"Ended what it had left behind: {', '.join(end_marked(MARKER_VARIABLE, str(data)))}.")


def _download(plan: Plan, settings_file: Path, stop: threading.Event) -> bool:
    """Fetch the model with `download_model.py`; False when told to stop."""
    name = plan.settings.general.model_name
    say(f"{name} is not here yet: fetching it into {plan.places.model}.")
    command = [sys.executable, str(PROJECT / "download_model.py"), name, "--config", str(settings_file)]
    status = _until_ended(command, stop, lambda: None)
    if status is not None and status != 0:
        raise CannotStart(f"{name} could not be fetched; nothing was started.")
    return status is not None


def _play(command: list[str], cluster: Cluster, stop: threading.Event) -> int:
    status = _until_ended(command, stop, cluster.tend)
    return 1 if status is None else status


def _until_ended(command: list[str], stop: threading.Event, meanwhile: Callable[[], None]) -> int | None:
    """Run a program beside us to its end, in a session of its own; None when told to stop, and then it is ended."""
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        if stop.wait(0.2):
            process.terminate()
            process.wait()
            return None
        meanwhile()
    return process.returncode
