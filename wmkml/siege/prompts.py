"""Hostile prompts at the visitors' doors: each is answered or refused in words, and breaks nothing."""

from __future__ import annotations

import asyncio
import json
import random

import httpx

from wmkml.siege.clients import AWAY, INSIDES
from wmkml.siege.messages import MessageMaker
from wmkml.siege.options import SiegeOptions
from wmkml.siege.report import SectionReport
from wmkml.siege.sieged_cluster import SiegedCluster, say

AT_ONCE = 16
"""So many attackers ask at the same time, each at a station of its own."""

ANSWER_SECONDS = 180.0


async def attack_prompts(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    """Ask `options.prompts` prompts made of hostile texts, most at `/chat`, some at `/generate_gui`."""
    await cluster.until_ready()
    await cluster.begin_run()
    numbers = iter(range(options.prompts))
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=30)
    async with httpx.AsyncClient(base_url=cluster.owner_address, timeout=timeout, trust_env=False) as client:

        async def ask_on(place: int) -> None:
            for number in numbers:
                if options.time_is_up():
                    return
                # Made from its number alone: which attacker asks it makes no difference.
                chance = random.Random(options.seed * 1_000_003 + number)
                problem = await _ask(client, chance, f"siege-{place}", report)
                report.tried += 1  # now: a prompt that is under way when the siege is ended was not tried
                if problem:
                    report.add_problem(f"Prompt {number} of seed {options.seed}: {problem}.")
                else:
                    report.held += 1
                if report.tried % 500 == 0:
                    say(f"Prompt {report.tried} of {options.prompts}: {report.tried - report.held} did not hold.")

        await asyncio.gather(*(ask_on(place) for place in range(AT_ONCE)))
    await cluster.until_ready()
    await cluster.end_run()


async def _ask(client: httpx.AsyncClient, chance: random.Random, station: str, report: SectionReport) -> str:
    """Ask one prompt; returns what was wrong, or nothing."""
    text = MessageMaker(chance).text()
    original = chance.random() < 0.1
    body = {"prompt": text} if original else {"prompt": text, "station": station}
    content = json.dumps(body).encode()
    try:
        response = await client.post(
            "/generate_gui" if original else "/chat", content=content, headers={"Content-Type": "application/json"}
        )
    except httpx.HTTPError as error:
        return f"no whole answer ({type(error).__name__})"
    if INSIDES.search(response.content):
        return "a program's insides are in the answer"
    if response.status_code >= 500 and response.status_code not in AWAY:
        return f"status {response.status_code}"
    report.count(f"status {response.status_code}")
    if response.status_code == 200 and not original:
        ends = [line for line in response.text.splitlines() if line in ("event: end", "event: error")]
        if len(ends) != 1:
            return "the stream has no end, or two"
    return ""
