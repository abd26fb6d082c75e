"""Run after run with its rebirth: what the processes and the disk hold after the tenth, they must hold after the last.

A run here is short: it is seeded, a visitor talks, one round is trained and answers, and the operator ends it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from pathlib import Path

import httpx
import psutil

from wmkml.protocol.conversation import ChatRequest
from wmkml.rehearsal.visitors import ask
from wmkml.siege.options import SiegeOptions
from wmkml.siege.report import SectionReport
from wmkml.siege.sieged_cluster import CannotSiegeError, SiegedCluster, say

SETTLED_RUN = 10
"""From this run on nothing may grow: caches are filled by then, and allocators hold what they need."""

WINDOW = 5
"""So many runs are looked at together, and their median taken: memory is not the same in every second."""

GROWTH = 0.05
"""The share by which a median may lie above the one before."""

SLACK = {"memory": 4 * 2**20, "files": 5.0, "threads": 2.0, "disk": 256 * 1024.0, "database": 64 * 1024.0}
"""So much is no growth, however small what it is compared with: connections that are kept open for a while, a page, a rounded block."""

ROUND_SECONDS = 300.0
ROLES = ("launcher", "supervisord", "owner", "inference", "worker", "other")


async def attack_runs(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    """Play `options.runs` runs, and compare what is held after the tenth with what is held in the end."""
    await cluster.until_ready()
    samples: dict[str, list[float]] = defaultdict(list)
    try:
        for number in range(options.runs):
            if options.time_is_up():
                break
            problem = await _play_noted(cluster)
            report.tried += 1
            for name, value in (await asyncio.to_thread(resources, cluster)).items():
                samples[name].append(value)
            if problem:
                report.add_problem(f"Run {number + 1}: {problem}")
            else:
                report.held += 1
            if (number + 1) % 5 == 0:
                compare(samples, report, final=False)
                say(f"Run {number + 1} of {options.runs}: {report.tried - report.held} did not hold.")
    finally:
        compare(samples, report)


async def _play_noted(cluster: SiegedCluster) -> str:
    """One run; returns what was wrong, or nothing.  A run that does not come to its end is no reason to play no other."""
    try:
        return await _play(cluster)
    except (CannotSiegeError, httpx.HTTPError) as error:
        await cluster.until_ready()
        return str(error) or f"{type(error).__name__}."


async def _play(cluster: SiegedCluster) -> str:
    """One run; returns what was wrong, or nothing."""
    run = await cluster.begin_run()
    visit = await ask(cluster.client, ChatRequest(prompt="Was ist ein Haus?", station="siege-runs"))

    async def learned() -> bool:
        state = await cluster.state()
        return state is not None and state.iteration >= 0

    await cluster.until(learned, "a round to be accepted", ROUND_SECONDS)
    await cluster.end_run()

    async def forgotten() -> bool:
        return not (cluster.paths.runs / run).exists()

    await cluster.until(forgotten, "the run's words and adapters to be deleted", ROUND_SECONDS)
    return "" if visit.failure is None else f"A visit {visit.failure.rstrip('.')}."


def resources(cluster: SiegedCluster) -> dict[str, float]:
    """What the cluster holds at this moment: bytes, files and threads by process, bytes on the disk."""
    held: dict[str, float] = {}
    for role, processes in cluster.processes().items():
        for kind in ("memory", "files", "threads"):
            held[f"{kind} of {role}"] = 0.0
        for process in processes:
            try:
                with process.oneshot():
                    held[f"memory of {role}"] += process.memory_info().rss
                    held[f"files of {role}"] += process.num_fds()
                    held[f"threads of {role}"] += process.num_threads()
            except psutil.Error:
                continue
    data = cluster.paths.data
    held["disk without logs"] = float(sum(_size(path) for path in data.rglob("*") if "logs" not in path.parts))
    held["database of kept answers"] = float(sum(_size(path) for path in data.rglob("*.sqlite*")))
    return held


def compare(samples: dict[str, list[float]], report: SectionReport, *, final: bool = True) -> None:
    """Note by how much each value has grown since the tenth run, and in the end a problem for each that grew."""
    for name, values in samples.items():
        settled = min(SETTLED_RUN, len(values) // 2)
        window = min(WINDOW, len(values) - settled)
        if window < 1 or settled < 1:
            continue
        before = statistics.median(values[max(0, settled - 1) : settled - 1 + window])
        after = statistics.median(values[-window:])
        growth = (after - before) / before if before else float(after > before)
        report.figures[f"growth of {name}, %"] = round(100 * growth, 2)
        kind = name.split()[0]
        if final and after - before > max(GROWTH * before, SLACK[kind]):
            report.add_problem(f"{name} grew from {before:.0f} after run {settled} to {after:.0f} after {len(values)}.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
