"""Any process is killed at any moment: what was acknowledged must be there, and the run go on where it was.

A moment and a victim are drawn from the seed.  What counts as acknowledged to a visitor is the `end` of an answer.  A
process is back when a new one in its place has been started; the owner, when it answers.  That an engine reads its model
after that, and that Python imports its libraries, is the engine's start, and is told beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from pathlib import Path

import psutil

from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.protocol.run_state import RunState
from wmkml.siege.options import SiegeOptions
from wmkml.siege.report import SectionReport
from wmkml.siege.sieged_cluster import CannotSiegeError, SiegedCluster, say
from wmkml.siege.stations import SiegeStation

STATIONS = 3

BACK_SECONDS = 10.0
"""Within this time a killed process must have been replaced, and an owner must answer again."""

PAUSE_SECONDS = (0.0, 4.0)
"""Range of the time between the recovery from one kill and the next kill."""

WEIGHTS = {"owner": 4, "inference": 3, "worker": 3, "supervisord": 1, "launcher": 1, "other": 1}
"""How often each kind of process is the victim, relative to the others."""

TAKEN_ALONG = {
    "supervisord": ("supervisord", "owner", "inference", "worker"),
    "launcher": ("launcher", "supervisord", "owner", "inference", "worker"),
}
"""What ends with a process, itself included; elsewhere it is the process alone."""

TALK_SECONDS = 120.0
"""How long the stations' last prompts may take."""

STATIONS_SECONDS = 300.0
"""How long a station may take to be answered again before it counts as lost; an engine starts meanwhile."""


async def attack_kills(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    """Kill `options.kills` processes, one after the other, while stations talk."""
    chance = random.Random(options.seed)
    await cluster.until_ready()
    run = await cluster.begin_run()
    languages = cluster.settings.languages
    stations = [
        SiegeStation(f"siege-{number}", languages[number % len(languages)], options.seed * 1000 + number)
        for number in range(STATIONS)
    ]
    stop = asyncio.Event()
    talks = [asyncio.create_task(station.talk(cluster.client, stop)) for station in stations]
    adapters = SeenAdapters()
    try:
        for number in range(options.kills):
            if options.time_is_up():
                break
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
            problems = await _kill(cluster, chance, run, stations, report, number + 1)
            problems += await _lost(cluster, stations, adapters)
            report.tried += 1  # now: a kill over which the siege was ended was not tried to its end
            report.held += not problems
            for problem in problems:
                report.add_problem(f"Kill {number + 1}: {problem}")
            state = await cluster.state()
            iteration = None if state is None else state.iteration
            say(f"Kill {number + 1} of {options.kills}: {problems[0] if problems else 'held.'} Iteration {iteration}.")
        stop.set()
        await asyncio.wait(talks, timeout=TALK_SECONDS)
    finally:
        for talk in talks:
            talk.cancel()
        report.counts["adapters that answered"] = len(adapters.by_iteration)
        report.counts["acknowledged pairs"] = sum(len(station.acknowledged) for station in stations)
        for station in stations:
            for failure, times in station.failures.items():
                report.count(f"attempts that {failure.rstrip('.')}, and were asked again", times)
    for problem in await _lost(cluster, stations, adapters):
        report.add_problem(f"In the end: {problem}")
    await cluster.end_run()


async def _kill(
    cluster: SiegedCluster,
    chance: random.Random,
    run: str,
    stations: list[SiegeStation],
    report: SectionReport,
    number: int,
) -> list[str]:
    """Kill one process and wait until all is well again; returns what was not."""
    before = await cluster.state()
    living = cluster.processes()
    roles = sorted(living)
    role = chance.choices(roles, [WEIGHTS[name] for name in roles])[0]
    victim = chance.choice(sorted(living[role], key=lambda process: process.pid))
    old = {process.pid for processes in living.values() for process in processes}
    report.count(f"kills of {role}")
    killed_at, killed_wall = time.monotonic(), time.time()
    cluster.kill(role, victim)
    problems: list[str] = []
    try:
        if role != "other":
            for name in TAKEN_ALONG.get(role, (role,)):
                seconds = await _replaced(cluster, name, old, killed_wall)
                if role == "launcher" and name != "launcher":
                    # The whole installation is started anew, after the old one has ended in order.
                    report.note_worst("until the whole installation runs again after its launcher, s", seconds)
                    continue
                report.note_worst(f"until {name} is started again, s", seconds)
                if seconds > BACK_SECONDS:
                    report.late.append(f"Kill {number}, of {role}: {name} was started again after {seconds:.1f} s.")
        await cluster.until(cluster.state, "the owner to answer")
        if role in ("owner", "supervisord"):
            seconds = time.monotonic() - killed_at
            report.note_worst("until the owner answers again, s", seconds)
            if seconds > BACK_SECONDS:
                report.late.append(f"Kill {number}, of {role}: the owner answered again after {seconds:.1f} s.")
        await cluster.until_ready()
        report.note_worst("until everything is ready again, engine start included, s", time.monotonic() - killed_at)
        await cluster.until(
            lambda: _all_answered(stations, killed_at), "every station to be answered", STATIONS_SECONDS
        )
    except CannotSiegeError as error:
        return [*problems, f"{role}: {error}"]
    report.note_worst("until every station is answered again, s", time.monotonic() - killed_at)
    after = await cluster.until(cluster.state, "the owner to answer")
    return problems + _changes(before, after, run)


def _changes(before: RunState | None, after: RunState, run: str) -> list[str]:
    """What is wrong with the run's state after a kill."""
    if after.run != run:
        return ["The run did not go on."]
    problems = []
    accepted = [round_.iteration for round_ in after.rounds if round_.status == "accepted"]
    if accepted and after.iteration != accepted[-1]:
        problems.append(f"Iteration {after.iteration} answers, and {accepted[-1]} was accepted.")
    if before is not None and after.iteration < before.iteration:
        problems.append(f"Iteration {before.iteration} answered before, {after.iteration} afterwards.")
    numbers = [round_.iteration for round_ in after.rounds]
    if numbers != sorted(set(numbers)):
        problems.append("A round is there twice, or out of order.")
    return problems


async def _replaced(cluster: SiegedCluster, role: str, old: set[int], killed_at: float) -> float:
    """Wait for a process of this kind that was not there before; returns when it began, in seconds since the kill."""

    async def begun() -> float | None:
        for process in (await asyncio.to_thread(cluster.processes)).get(role, []):
            try:
                if process.pid not in old:
                    return max(process.create_time() - killed_at, 0.001)
            except psutil.NoSuchProcess:
                continue
        return None

    return await cluster.until(begun, f"{role} to be started again")


async def _all_answered(stations: list[SiegeStation], since: float) -> bool:
    return all(station.acknowledged and station.acknowledged[-1].at > since for station in stations)


class SeenAdapters:
    """Which weights answered in the name of each iteration; whether they are those on the disk, whole."""

    def __init__(self) -> None:
        self.by_iteration: dict[int, str] = {}
        self._hashes: dict[tuple[str, float], str] = {}

    def problems(self, runs: Path, stations: list[SiegeStation]) -> list[str]:
        """A sentence for each answer by weights that no accepted adapter has."""
        problems = []
        for answer in (answer for station in stations for answer in station.acknowledged):
            known = self.by_iteration.get(answer.iteration)
            if known is None and answer.iteration >= 0:
                if not self._is_whole(runs, answer.adapter):
                    problems.append(
                        f"Iteration {answer.iteration} answered with weights that are no adapter's on disk."
                    )
                self.by_iteration[answer.iteration] = answer.adapter
            elif known is not None and known != answer.adapter:
                problems.append(f"Iteration {answer.iteration} answered with two adapters.")
            if answer.iteration < 0 and answer.adapter:
                problems.append("The base model answered with an adapter.")
        return problems

    def _is_whole(self, runs: Path, sha256: str) -> bool:
        for path in runs.glob(f"*/adapters/*/{WEIGHTS_FILE}"):
            if path.parent.name.startswith("."):
                continue
            key = (str(path), path.stat().st_mtime)
            if key not in self._hashes:
                self._hashes[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return sha256 in self._hashes.values()


async def _lost(cluster: SiegedCluster, stations: list[SiegeStation], adapters: SeenAdapters) -> list[str]:
    """What was acknowledged and is not stored as it was asked, and which answers no whole adapter gave."""
    acknowledged = [answer for station in stations for answer in station.acknowledged]
    try:
        stored = {pair["pair"]: pair for pair in await cluster.stored_pairs()}
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing could be compared, and that is the finding
        return [f"The stored pairs could not be read ({type(error).__name__})."]
    lost = [answer for answer in acknowledged if answer.pair not in stored]
    other = [
        answer
        for answer in acknowledged
        if answer.pair in stored
        and (stored[answer.pair]["prompt"], stored[answer.pair]["station"], stored[answer.pair]["iteration"])
        != (answer.prompt, answer.station, answer.iteration)
    ]
    problems = [f"{len(lost)} of {len(acknowledged)} acknowledged pairs are not stored."] if lost else []
    problems += [f"{len(other)} of {len(acknowledged)} pairs are stored as something else."] if other else []
    numbers = [answer.pair for answer in acknowledged]
    if len(numbers) != len(set(numbers)):
        problems.append("Two answers were acknowledged as one pair.")
    return problems + await asyncio.to_thread(adapters.problems, cluster.paths.runs, stations)
