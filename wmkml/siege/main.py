"""The order of a siege: the cluster, the sections one after the other, the report, whatever ends it.

The report is on the disk all the time: a siege takes hours, and whatever ends it, also a power cut, leaves what was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx

from wmkml.siege.adapters import BAD_ADAPTERS, BAD_ARCHIVES, BAD_PATHS, attack_adapters
from wmkml.siege.clients import BROKEN_REQUESTS, attack_clients
from wmkml.siege.crowd import attack_crowd
from wmkml.siege.kills import attack_kills
from wmkml.siege.options import SiegeOptions
from wmkml.siege.prompts import attack_prompts
from wmkml.siege.report import SectionReport, SiegeReport, report_lines
from wmkml.siege.runs import attack_runs
from wmkml.siege.sieged_cluster import CannotSiegeError, SiegedCluster, say
from wmkml.system.durable_files import replace

SAVE_SECONDS = 10.0
"""How often the report is written."""

Attack = Callable[[SiegedCluster, SiegeOptions, SectionReport], Awaitable[None]]

ATTACKS: dict[str, tuple[Attack, Callable[[SiegeOptions], int]]] = {
    "kills": (attack_kills, lambda options: options.kills),
    # Every bad adapter at two doors, but for paths, and the archives.
    "adapters": (attack_adapters, lambda _options: 2 * len(BAD_ADAPTERS) + BAD_PATHS + BAD_ARCHIVES),
    "runs": (attack_runs, lambda options: options.runs),
    "clients": (attack_clients, lambda options: 2 * BROKEN_REQUESTS + options.connections + options.messages),
    "prompts": (attack_prompts, lambda options: options.prompts),
    "stations": (attack_crowd, lambda options: 3 * options.stations),
}
"""Each section's attack, and how many attacks the options ask of it."""

SECTIONS = tuple(ATTACKS)


def run_siege(
    words: Sequence[str], sections: Sequence[str], options: SiegeOptions, report_file: Path | None, keep: bool = False
) -> int:
    """Start a cluster, attack it, end it, and report.

    Args:
        words: the arguments that give the cluster its settings.
        sections: names out of `SECTIONS`, in their order.
        report_file: receives the report as JSON, rewritten every SAVE_SECONDS.
        keep: leave the cluster's data folder where it is, to be looked at.

    Returns:
        0 when everything was tried that was asked for, and held; 1 when not; 2 when the cluster did not come up.
    """
    report = SiegeReport(ok=False, interrupted=True, seed=options.seed, cores=os.cpu_count() or 0)
    report.sections = [SectionReport(name=name, wanted=ATTACKS[name][1](options)) for name in sections]
    folder = Path(tempfile.mkdtemp(prefix="wmkml-siege-"))
    status = asyncio.run(_siege(SiegedCluster(folder, words), options, report, report_file))
    if keep or status == 2:
        say(f"The cluster's data and logs are in {folder}.")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    for line in report_lines(report):
        say(line)
    return status


async def _siege(cluster: SiegedCluster, options: SiegeOptions, report: SiegeReport, report_file: Path | None) -> int:
    began = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    status = 2
    saving = asyncio.create_task(_save(report, report_file, began))
    try:
        say(f"Starting a cluster of its own in {cluster.folder}.")
        say(f"It is ready after {await cluster.start():.0f} s.")
        state = await cluster.until(cluster.state, "the owner")
        report.model, report.engine = state.model, state.engine
        status = 1
        for section in report.sections:
            if options.time_is_up():
                break
            say(f"{section.name}: {section.wanted} to be tried.")
            await _attack(cluster, options, section)
            if not section.ok:
                say(f"{section.name}: {section.held} of {section.tried} held; the report says what did not.")
        report.ok = all(section.ok and section.tried >= section.wanted for section in report.sections)
        report.interrupted = any(section.tried < section.wanted for section in report.sections)
        status = 0 if report.ok else 1
    except CannotSiegeError as error:
        report.interrupted = False
        say(str(error))
    except asyncio.CancelledError:
        task.uncancel()
        say("Ended early; this is what was done.")
    finally:
        saving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await saving
        _write(report, report_file, began)
        await cluster.stop()
    return status


async def _save(report: SiegeReport, report_file: Path | None, began: float) -> None:
    """Write the report again and again, for ever."""
    while True:
        _write(report, report_file, began)
        await asyncio.sleep(SAVE_SECONDS)


async def _attack(cluster: SiegedCluster, options: SiegeOptions, section: SectionReport) -> None:
    began = time.monotonic()
    timing = asyncio.create_task(_time(section, began))
    try:
        await ATTACKS[section.name][0](cluster, options, section)
    except (CannotSiegeError, httpx.HTTPError) as error:
        # What the section needed of the cluster was not there: that is a finding, and the next section tries again.
        section.add_problem(f"The section could not go on: {str(error) or type(error).__name__}")
    finally:
        timing.cancel()
        section.seconds = round(time.monotonic() - began, 1)


async def _time(section: SectionReport, began: float) -> None:
    while True:
        section.seconds = round(time.monotonic() - began, 1)
        await asyncio.sleep(1.0)


def _write(report: SiegeReport, report_file: Path | None, began: float) -> None:
    report.seconds, report.load = round(time.monotonic() - began, 1), round(os.getloadavg()[0], 1)
    if report_file is not None:
        content = report.model_dump_json(indent=1) + "\n"
        try:
            if report_file.is_file() or not report_file.exists():
                replace(report_file, content.encode())
            else:  # a pipe, or the terminal: no file that may be replaced
                report_file.write_text(content, encoding="utf-8")
        except OSError as error:
            say(f"The report cannot be written ({error.strerror}); it is tried again.")
