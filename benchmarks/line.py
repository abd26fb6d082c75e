#!/usr/bin/env python3
"""How fair the line before the transformers engine is: a crowd of stations, a tiny model of random weights, waits in engine steps.

The line (`StationTurns`) and the engine are the real ones, with sixty-four answers at a time; every station asks, reads 24 tokens,
pauses and asks again, with a conversation that grows.  What a wait is compared with is told in wmkml/siege/crowd.py.  A step is
counted as a step whatever it takes, so other programs on the machine change nothing but how long this runs: minutes.

    env/bin/python benchmarks/line.py [--stations 100] [--prompts 6]

Prints one line of JSON: mean, median and 95th percentile of the waits for the first token, in steps, and the 95th percentile of the
waits as multiples of a fair line's share (at most 1.5).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.engine.random_model import RANK, make_model
from wmkml.engine.protocol import Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.owner.answers.turns import StationTurns
from wmkml.rehearsal.report import latency_summary
from wmkml.siege.crowd import times_of_share

AT_ONCE, OF_STATION = 64, 2
SAMPLING = Sampling(temperature=1.0, top_p=0.9, max_tokens=24)
LONGEST_PROMPT = 440
PAUSE_STEPS = (100, 300)
"""Of a station between two prompts: one to three seconds, where a step takes ten milliseconds."""

Wait = tuple[int, int, int]
"""The step at which a prompt was asked, the steps to its first token, and its number at its station."""


async def crowd(stations: int, prompts: int, model: Path) -> list[Wait]:
    """Have the stations talk; returns their waits in the order of asking."""
    engine = TransformersEngine(
        EngineSetup(model, adapters=1, rank=RANK, dtype="float32", sequences=AT_ONCE, batched_tokens=128, threads=1)
    )
    await engine.start()
    turns, waits = StationTurns(AT_ONCE, OF_STATION), list[Wait]()

    async def talk(place: int) -> None:
        chance = random.Random(place)
        length = 60 + chance.randrange(30)
        for number in range(prompts):
            asked, is_first = engine._clock, True
            prompt = tuple(chance.randrange(10, 300) for _ in range(min(length, LONGEST_PROMPT)))
            async with turns.turn(str(place)):
                async for _ in engine.generate(Generation(f"{place}.{number}", prompt, SAMPLING)):
                    if is_first:
                        waits.append((asked, engine._clock - asked, number))
                        is_first = False
            length += 20 + chance.randrange(40)
            until, before = engine._clock + chance.randrange(*PAUSE_STEPS), -1
            while before != engine._clock < until:  # when nobody else asks, no step is made
                before = engine._clock
                await asyncio.sleep(0.005)

    await asyncio.gather(*(talk(place) for place in range(stations)))
    await engine.stop()
    return sorted(waits)


def main() -> int:
    """Play, and print the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stations", type=int, default=100, help="(100)")
    parser.add_argument("--prompts", type=int, default=6, help="of each station (6)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        waits = asyncio.run(crowd(arguments.stations, arguments.prompts, make_model(Path(folder) / "model")))
    # Without the crowd's arrival at one moment, and its end, when ever fewer ask.
    settled = [float(steps) for _, steps, number in waits if 0 < number < arguments.prompts - 1]
    summary = latency_summary(settled)
    result = {
        "stations": arguments.stations,
        "mean": round(statistics.fmean(settled)),
        "median": round(summary.median),
        "p95": round(summary.p95),
        "p95_of_shares": round(latency_summary(times_of_share(settled, arguments.stations)).p95, 2),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
