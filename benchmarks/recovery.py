#!/usr/bin/env python3
"""How long a killed process is away: `kill -9` again and again, on a cluster of its own, with nobody who talks.

By what is killed: until the owner answers again on a new connection, and until a process stands in each place that it left empty.
An engine that reads its model is no part of it.  What decides is how soon supervision notices (its polls, its waits) and what the
owner must import; on a busy machine the processor decides, so compare two versions in alternation, on the same machine:

    for turn in 1 2 3; do for version in before after; do (cd $version; env/bin/python benchmarks/recovery.py); done; done

    env/bin/python benchmarks/recovery.py [--kills 5] [--roles owner worker inference supervisord] [--engine transformers]

Prints a table, and last one line of JSON: medians and the worst of each, in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import psutil

from wmkml.siege.kills import TAKEN_ALONG
from wmkml.siege.sieged_cluster import SiegedCluster

ROLES = ("owner", "worker", "inference", "supervisord")
POLL_SECONDS = 0.02
PAUSE_SECONDS = 12.0
"""Between two kills: what is killed has run for longer than supervision asks of a program that counts as started."""


async def measure(kills: int, roles: list[str], words: list[str]) -> dict[str, list[float]]:
    """The seconds of every kill, by what was waited for."""
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="wmkml-recovery-") as folder:
        cluster = SiegedCluster(Path(folder), words)
        try:
            await cluster.start()
            for _ in range(kills):
                for role in roles:
                    await cluster.until_ready()
                    await asyncio.sleep(PAUSE_SECONDS)
                    for name, value in (await _kill(cluster, role)).items():
                        seconds[f"{role} killed, until {name}"].append(value)
        finally:
            await cluster.stop()
    return seconds


async def _kill(cluster: SiegedCluster, role: str) -> dict[str, float]:
    living = cluster.processes()
    old = {process.pid for processes in living.values() for process in processes}
    began, wall = time.monotonic(), time.time()
    cluster.kill(role, living[role][0])
    seconds: dict[str, float] = {}
    names = TAKEN_ALONG.get(role, (role,))
    answering = ["the owner answers"] if "owner" in names else []
    while len(seconds) < len(names) + len(answering):
        # Not the old one, which answers until it has ended with supervisord.
        if answering and "a new owner" in seconds and answering[0] not in seconds and await _answers(cluster):
            seconds[answering[0]] = time.monotonic() - began
        processes = await asyncio.to_thread(cluster.processes)
        for name in names:
            new = [process for process in processes.get(name, []) if process.pid not in old]
            if new and f"a new {name}" not in seconds:
                try:
                    seconds[f"a new {name}"] = new[0].create_time() - wall
                except psutil.NoSuchProcess:
                    continue
        await asyncio.sleep(POLL_SECONDS)
    return seconds


async def _answers(cluster: SiegedCluster) -> bool:
    try:
        async with httpx.AsyncClient(timeout=1, trust_env=False) as client:
            return (await client.get(f"{cluster.owner_address}/state")).status_code == 200
    except httpx.TransportError:
        return False


def main() -> int:
    """Measure; print the table and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each role (5)")
    parser.add_argument("--roles", nargs="+", choices=ROLES, default=list(ROLES))
    parser.add_argument("--engine", default="transformers", help="(transformers: it starts soonest)")
    arguments = parser.parse_args()
    seconds = asyncio.run(measure(arguments.kills, arguments.roles, ["--engine", arguments.engine]))
    results = {}
    for name, values in seconds.items():
        results[name] = {"median": round(statistics.median(values), 2), "worst": round(max(values), 2)}
        print(f"{name:<48} median {results[name]['median']:6.2f} s, worst {results[name]['worst']:6.2f} s")
    print(json.dumps({"kills": arguments.kills, "engine": arguments.engine, "seconds": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
