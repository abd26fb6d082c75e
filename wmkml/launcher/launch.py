"""`./master_script.sh` in the foreground: check, download, start, wait until healthy, watch, end.

Whatever is wrong is reported at once, before the first process starts.  This module holds the order of these steps; each
of them is another module's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from wmkml.access.keys import load_keys
from wmkml.access.node_key import load_node_key
from wmkml.access.pin import load_pin
from wmkml.config import Settings
from wmkml.config.addresses import browser_url, inference_url, owner_scheme, owner_url
from wmkml.config.arguments import ResolvedSettings
from wmkml.config.paths import PROJECT, Paths, paths_of
from wmkml.doctor.check import SIGNS
from wmkml.doctor.examination import locale_language, sentence
from wmkml.doctor.observing import writing_problem
from wmkml.engine.engine_args import engine_args_notice, engine_args_problems
from wmkml.launcher import preflight
from wmkml.launcher.cluster_record import ClusterLock, ClusterRecord, ClusterRunsError, remove_record, write_record
from wmkml.launcher.machine import Machine, with_memory_of_now
from wmkml.launcher.memory.model import Shape, shape_of
from wmkml.launcher.plan import Plan, make_plan
from wmkml.launcher.services import Service, services_of
from wmkml.launcher.settings_file import with_folders_and_ports, write_settings
from wmkml.launcher.supervision.cluster import Cluster
from wmkml.launcher.supervision.gpu_watch import GpuWatch
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.models.stored_format import training_problem
from wmkml.system.orphans import end_marked_processes, marked_processes
from wmkml.system.ports import own_address

WATCH_SECONDS = 1.0
"""How often the running cluster is checked for processes that must be started again."""

EARLIER_CLUSTER_SECONDS = 15.0
"""How long a killed launcher's supervisord may take to end its programs, before they are killed."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

OWNER_PORT = 8000
"""Where the owner of a head listens that is named without a port."""

OnHealthy = Callable[[Plan, float], list[str]]
"""Gets the plan and the seconds that starting took; returns the command of a program, whose end ends the cluster."""


MakePlan = Callable[[Settings, Machine, Paths, Shape], Plan]
"""Makes a plan of settings, machine, paths and the model's shape."""


class CannotStartError(RuntimeError):
    """Something must be fixed first.  The text is for the operator: a sentence for each problem."""


def report(line: str) -> None:
    """Print a line for the operator."""
    try:
        print(line, flush=True)
    except OSError:
        # The terminal was closed (SIGHUP), and every process must be ended all the same.
        return


def plan_of(resolved: ResolvedSettings, machine: Machine, caches: Path | None = None) -> Plan:
    """The plan for these settings.  Reads the model's `config.json`, nothing else.

    Args:
        caches: the folder of what is compiled, where it is another installation's.
    """
    paths = paths_of(resolved.settings, resolved.root)
    if caches is not None:
        paths = replace(paths, caches=caches)
    plan = make_plan(resolved.settings, machine, paths, shape_of(resolved.settings.general.model_name, paths.model))
    inference = resolved.settings.inference
    notice = engine_args_notice(inference.engine_args, inference.engine)
    problems = engine_args_problems(inference.engine_args) if inference.engine == "vllm" else []
    return replace(
        plan,
        refusals=(*plan.refusals, *problems, *_training_problems(plan)),
        notices=(*resolved.notices, *plan.notices, *([notice] if notice is not None else [])),
    )


def plan_anew(plan: Plan, make: MakePlan = make_plan) -> Plan:
    """The plan for a model that has been downloaded: its shape is known now, and may not be what its name let expect.

    Raises:
        CannotStartError: it does not fit, or nothing can be trained on it here.
    """
    shape = shape_of(plan.settings.general.model_name, plan.paths.model)
    anew = make(plan.configured, plan.machine, plan.paths, shape)
    if refusals := (*anew.refusals, *_training_problems(anew)):
        raise CannotStartError("\n".join(refusals))
    # Folders and ports are decided already.
    return replace(anew, settings=anew.settings.model_copy(update={"general": plan.settings.general}))


def _training_problems(plan: Plan) -> list[str]:
    if not any(process.name == "worker" for process in plan.processes):
        return []
    problem = training_problem(plan.paths.model, plan.settings.inference.quantization)
    return [problem] if problem is not None else []


def launch(
    plan: Plan,
    services: list[Service] | None = None,
    on_healthy: OnHealthy | None = None,
    make: MakePlan = make_plan,
    check_model: Callable[[Path], None] | None = None,
) -> int:
    """Run a cluster until a signal ends it, or until the program of `on_healthy` has ended.

    Args:
        plan: what runs where.
        services: replace the plan's.
        on_healthy: called once everything is healthy.
        make: makes the plan anew when the model has been downloaded.
        check_model: called with the model's folder before anything is started; may raise CannotStartError.

    Returns:
        The exit status: the program's if there is one, else 0.

    Raises:
        CannotStartError: before anything was started.
    """
    with _stop_on_signals() as stop_event:
        started_at = time.monotonic()
        plan = replace(plan, settings=with_folders_and_ports(plan.settings, plan.paths))
        if writing_problem(plan.paths.data):
            # The lock is in that folder, so what is wrong must be told before it is held.
            _report_findings(plan)
        try:
            with ClusterLock(plan.paths.data):
                return _launch_locked(plan, services, on_healthy, stop_event, started_at, make, check_model)
        except ClusterRunsError:
            raise CannotStartError(
                f"A cluster already runs on {plan.paths.data}. See it with ./master_script.sh status, "
                "end it with ./master_script.sh stop."
            ) from None


def _launch_locked(
    plan: Plan,
    services: list[Service] | None,
    on_healthy: OnHealthy | None,
    stop_event: threading.Event,
    started_at: float,
    make: MakePlan,
    check_model: Callable[[Path], None] | None,
) -> int:
    data = plan.paths.data
    if _wait_for_earlier_cluster(data, stop_event):
        plan = replace(plan, machine=with_memory_of_now(plan.machine))
    for notice in plan.notices:
        report(f"Note: {notice}")
    for warning in preflight.warnings(plan):
        report(warning)
    _report_findings(plan)
    settings_file = write_settings(plan.settings, plan.paths)
    if preflight.needs_download(plan):
        if not _download(plan, settings_file, stop_event):
            return 0
        plan = plan_anew(plan, make)
        write_settings(plan.settings, plan.paths)
    if check_model is not None:
        check_model(plan.paths.model)
    cluster = Cluster(data, plan.paths.logs, PROJECT, services or services_of(plan, settings_file), stop_event, report)
    record = ClusterRecord(
        os.getpid(),
        "starting",
        time.time(),
        str(cluster.files.socket),
        str(settings_file),
        owner_url(plan.settings),
        inference_url(plan.settings),
    )
    write_record(data, record)
    try:
        names = ", ".join(process.name for process in plan.processes)
        engine, model = plan.settings.inference.engine, plan.settings.general.model_name
        report(f"Starting {names} with {model} ({engine}). Ctrl-C ends everything.")
        if not cluster.start() or not cluster.wait_until_ready():
            return 0
        seconds = time.monotonic() - started_at
        report(f"Everything is healthy after {seconds:.0f} s.")
        write_record(data, ClusterRecord(**{**vars(record), "phase": "healthy"}))
        if on_healthy is not None:
            status = _run_program(on_healthy(plan, seconds), stop_event, cluster.restart_failed)
            return 1 if status is None else status
        for line in address_lines(plan):
            report(line)
        _watch(plan, cluster, settings_file, make)
        return 0
    finally:
        report("Ending every process …")
        with suppress(OSError):  # on a full disk everything is ended all the same
            write_record(data, ClusterRecord(**{**vars(record), "phase": "ending"}))
        cluster.end()
        with suppress(OSError):
            remove_record(data)
        report("All have ended.")


def _watch(plan: Plan, cluster: Cluster, settings_file: Path, make: MakePlan) -> None:
    """Keep everything running until a signal ends it; plan anew when a graphics card has gone, and when it is back."""
    services = services_of(plan, settings_file)
    waiting: Plan | None = None  # made anew, and not written yet
    gpus = GpuWatch(() if plan.machine.gpus_pretended else plan.machine.gpus)
    try:
        while not cluster.wait(WATCH_SECONDS):
            cluster.restart_failed()
            if (present := gpus.look()) is not None:
                numbers = ", ".join(str(gpu.index) for gpu in present)
                try:
                    waiting = plan_anew(replace(plan, machine=replace(plan.machine, gpus=present)), make)
                except CannotStartError as error:
                    waiting = None
                    report(f"  Of the GPUs only {numbers} can be used, and that is not enough: {error}")
                    continue
                report(f"  GPUs that can be used now: {numbers}. What computes is started again on them.")
            elif waiting is None:
                continue
            try:
                write_settings(waiting.settings, waiting.paths)
                planned = services_of(waiting, settings_file)
                # The owner goes on: it holds the visitors, computes on no card, and shall miss those of the first plan.
                kept = {service.program.name: service for service in services if service.program.name == "owner"}
                cluster.replace([kept.get(service.program.name, service) for service in planned])
            except OSError as error:
                if present is not None:  # at each look after that it is tried again
                    report(f"  The plan for them cannot be written ({error}); it is tried again.")
            else:
                waiting = None
    finally:
        gpus.close()


def _report_findings(plan: Plan) -> None:
    """Report what the doctor finds wrong and can be found quickly.

    Raises:
        CannotStartError: nothing can be started like this.
    """
    language = locale_language()
    findings = [result for result in preflight.examine_plan(plan).findings if result.mark in ("bad", "warning")]
    refused = preflight.refused_settings(plan)
    if refused or any(result.blocks for result in findings):
        bad = (sentence(result, language) for result in findings if result.mark == "bad")
        raise CannotStartError("\n".join([*bad, *refused]))
    for result in findings:
        report(f"{SIGNS[result.mark]} {getattr(result.title, language)}: {sentence(result, language)}")


def address_lines(plan: Plan) -> Iterable[str]:
    """The lines that tell the operator where the pages, keys and logs are."""
    port, here = plan.settings.general.owner_port, browser_url(plan.settings).replace("127.0.0.1", "localhost")
    scheme = owner_scheme(plan.settings)
    yield ""
    if not any(process.name == "owner" for process in plan.processes):
        inference = plan.settings.inference.inference_host, plan.settings.general.inference_port
        yield f"  node       of {owner_url(plan.settings)}, at {inference[0]}:{inference[1]}"
        yield f"  logs       {plan.paths.logs}"
        yield ""
        return
    yield f"  talk       {here}/"
    if plan.settings.general.owner_host in ("0.0.0.0", "::") and (address := own_address()):
        yield f"             {scheme}://{address}:{port}/ from another machine"
    yield f"  stage      {here}/stage?key={load_keys(plan.paths).stage}"
    yield f"  desk       {here}/desk, PIN {load_pin(plan.paths)}"
    yield f"  keys       {plan.paths.keys} (stage, worker, operator)"
    yield f"  logs       {plan.paths.logs}"
    prefix = "https://" if scheme == "https" else ""
    for node in plan.settings.node_addresses:
        yield f"  node       {node}; there: ./master_script.sh --join {prefix}{_own_name(port)} --key {load_node_key(plan.paths)}"
    for host, osc_port in plan.settings.osc_targets:
        yield f"  OSC        {host}:{osc_port}"
    yield ""


def _own_name(port: int) -> str:
    address = own_address() or "ADDRESS"
    return address if port == OWNER_PORT else f"{address}:{port}"


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that the signals set; they are as before where nothing was started, and else this process ends."""
    stop_event = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop_event.set()) for number in ENDING_SIGNALS}
    try:
        yield stop_event
    except CannotStartError:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise


def _wait_for_earlier_cluster(data: Path, stop_event: threading.Event) -> bool:
    """Wait while the supervisord of a killed launcher ends its programs in order; kill what is left in the end.

    Returns whether there was anything to wait for.
    """
    mark = cluster_mark(data)
    if not marked_processes(mark):
        return False
    report("An earlier cluster on this data folder is still ending; waiting for it.")
    deadline = time.monotonic() + EARLIER_CLUSTER_SECONDS
    while time.monotonic() < deadline:
        if stop_event.wait(0.1) or not marked_processes(mark):
            return True
    # This launcher holds the lock, so no other one watches them.
    report(f"Ended what it had left behind: {', '.join(end_marked_processes(mark))}.")
    return True


def _download(plan: Plan, settings_file: Path, stop_event: threading.Event) -> bool:
    """Download the model with `download_model.py`; False if the stop event was set before it was complete."""
    name = plan.settings.general.model_name
    report(f"{name} is not here yet: fetching it into {plan.paths.model}.")
    command = [sys.executable, str(PROJECT / "download_model.py"), name, "--config", str(settings_file)]
    status = _run_program(command, stop_event, lambda: None)
    if status is not None and status != 0:
        raise CannotStartError(f"{name} could not be fetched; nothing was started.")
    return status is not None


def _run_program(command: list[str], stop_event: threading.Event, on_poll: Callable[[], None]) -> int | None:
    """Run a program to its end, in a session of its own; returns its exit status, None if the stop event ended it."""
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        if stop_event.wait(0.2):
            process.terminate()
            process.wait()
            return None
        on_poll()
    return process.returncode
