"""Many stations at once: nobody fails, everybody waits about as long, and who waits is told for how many.

In a line that is fair everybody who asks at about the same time waits equally long, and the mean of their waits is what each
one's share is: how they are ordered changes whose wait is long, not their sum.  So each wait is compared with that mean.  Not
with the mean of all: while a round trains on the same cores everybody waits for longer, and that is not unfair.
"""

from __future__ import annotations

import asyncio
import statistics

import httpx

from wmkml.rehearsal.report import latency_summary
from wmkml.siege.options import SiegeOptions
from wmkml.siege.report import SectionReport
from wmkml.siege.sieged_cluster import SiegedCluster, say
from wmkml.siege.stations import SiegeStation

CROWD_SECONDS = 60.0
"""How long the crowd talks after everybody has been answered once."""

FAIR = 1.5
"""The 95th percentile of the waits for the first token may be so many times a fair line's share."""

FIRST_SECONDS = 600.0
"""How long it may take until everybody has been answered once."""


async def attack_crowd(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    """Have `options.stations` stations talk, then twice as many."""
    await cluster.until_ready()
    for number in (options.stations, 2 * options.stations):
        if options.time_is_up():
            return
        await cluster.begin_run()
        await _talk(cluster, options, number, report)
        await cluster.end_run()


async def _talk(cluster: SiegedCluster, options: SiegeOptions, number: int, report: SectionReport) -> None:
    languages = cluster.settings.languages
    stations = [
        SiegeStation(f"siege-{place}", languages[place % len(languages)], options.seed * 10_000 + place, (1.0, 3.0))
        for place in range(number)
    ]
    stop = asyncio.Event()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url=cluster.owner_address, timeout=httpx.Timeout(300, connect=60), limits=limits, trust_env=False
    ) as client:
        talks = [asyncio.create_task(station.talk(client, stop)) for station in stations]
        try:

            async def everybody() -> bool:
                return all(station.acknowledged for station in stations)

            await cluster.until(everybody, "every station to be answered once", FIRST_SECONDS)
            # What came before is the crowd's arrival at one moment, in which no line is fair.
            settled = {station.name: len(station.visits) for station in stations}
            await asyncio.sleep(CROWD_SECONDS)
            stop.set()
            await asyncio.wait(talks, timeout=120)
        finally:
            for talk in talks:
                talk.cancel()
    timed = sorted(
        (visit.sent, visit.first_token_ms)
        for station in stations
        for visit in station.visits[settled[station.name] :]
        if visit.first_token_ms is not None
    )
    waits = [wait for _, wait in timed]
    failed = {station.name: station.failures for station in stations if station.failures}
    report.tried += number
    report.held += number - len(failed)
    for failures in failed.values():
        for failure, times in failures.items():
            report.add_problem(f"With {number} stations, {times} visits of one {failure.rstrip('.')}.")
    share, summary = statistics.fmean(waits) if waits else 0.0, latency_summary(waits)
    name = f"{number} stations: "
    report.figures[f"{name}answers in {CROWD_SECONDS:g} s"] = len(waits)
    report.figures[f"{name}first token, a fair line's share, s"] = round(share / 1000, 2)
    report.figures[f"{name}first token, median, s"] = round(summary.median / 1000, 2)
    report.figures[f"{name}first token, p95, s"] = round(summary.p95 / 1000, 2)
    unfairness = latency_summary(times_of_share(waits, number)).p95
    report.figures[f"{name}first token, p95 of the times of a fair line's share"] = unfairness
    report.figures[f"{name}visits told their place in the line"] = sum(
        bool(visit.before) for station in stations for visit in station.visits
    )
    if unfairness > FAIR:
        report.late.append(
            f"With {number} stations the first token's p95 is {unfairness:.1f} times a fair line's share."
        )
    say(
        f"{number} stations: median {summary.median / 1000:.2f} s, p95 {summary.p95 / 1000:.2f} s, share {share / 1000:.2f} s."
    )


def times_of_share(waits: list[float], stations: int) -> list[float]:
    """Each wait as a multiple of a fair line's share at its time; the waits in the order in which they began.

    The share is the mean of as many waits around it as there are stations: each has about one of them.
    """
    times = []
    for place, wait in enumerate(waits):
        begin = max(0, min(place - stations // 2, len(waits) - stations))
        around = waits[begin : begin + stations]
        times.append(wait / statistics.fmean(around) if any(around) else 1.0)
    return times
