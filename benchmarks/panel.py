#!/usr/bin/env python3
"""What the panel costs: visitors' first tokens and speed while it is asked and while it is not, and its share of a round.

One real inference serves the understudy.  A visitor asks it, one prompt after another with pauses, and each prompt is echoed
six times in the background, as in an exhibition.  Blocks of prompts take turns: without the panel, and with the panel asked
all the while, as the owner asks it.  Printed are the medians over all prompts of a kind, and their ratio with a 95 %
interval (bootstrap over blocks); an interval that holds 1 says: unchanged within the noise.  Then the whole panel is asked
while nobody else asks anything: its share of a round of `--round` seconds.

What bounds it: the engine makes the next token of all answers at once, so each answer more makes every token slower.  The
panel has one answer under way where inference makes few background answers, and begins none while anybody waits.

    env/bin/python benchmarks/panel.py [--engine transformers] [--turns 10] [--prompts 8] [--answers 8] [--round 120]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import yaml

from benchmarks.round import samples
from benchmarks.serving import start_server
from wmkml.config import Settings
from wmkml.config.paths import SHIPPED_PANEL
from wmkml.measures.panel.measuring import GROUP
from wmkml.measures.panel.prompts import panel_prompts
from wmkml.system.ports import free_port

PAUSE_SECONDS = 0.8
"""Between a visitor's prompts, on average."""

ECHOES = 6
MAX_TOKENS = 64
RESAMPLES = 2000

Block = list[dict[str, float]]
"""Of each prompt: `first_token` and `token`, the mean time between two of its tokens; milliseconds."""


class Inference:
    """Asks the service."""

    def __init__(self, port: int) -> None:
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=httpx.Timeout(None),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def body(self, prompt: str, **more: Any) -> dict[str, Any]:
        """A request for an answer to a prompt."""
        system = Settings().inference.system_prompts["de"]
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        return {"messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0.7, "frequency_penalty": 0.0, **more}

    async def visit(self, prompt: str) -> dict[str, float]:
        """Ask as a visitor's page does, and time the tokens."""
        began, times = time.perf_counter(), []
        body = self.body(prompt, stream=True, logprobs=True, top_logprobs=6, audience="visitor")
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: {") and '"content":' in line and '"role"' not in line:
                    times.append(time.perf_counter())
        if not times:
            raise RuntimeError("the understudy answered nothing; look at its weights")
        gap = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else float("nan")
        return {"first_token": 1000 * (times[0] - began), "token": 1000 * gap}

    async def background(self, prompt: str, number: int, audience: str) -> int:
        """Have a prompt answered in the background; returns the tokens."""
        reply = await self._http.post("/v1/chat/completions", json=self.body(prompt, n=number, audience=audience))
        return int(reply.raise_for_status().json()["usage"]["completion_tokens"])


async def ask_panel(inference: Inference, answers: int) -> int:
    """Ask the whole panel once, one prompt after another; returns the tokens."""
    settings = Settings()
    prompts = [*(prompt.text for prompt in panel_prompts(SHIPPED_PANEL, "de")), settings.persistent_prompt("de")]
    return sum(
        [
            await inference.background(prompt, min(GROUP, answers - begun), "measure")
            for begun in range(0, answers, GROUP)
            for prompt in prompts
        ]
    )


async def block(inference: Inference, prompts: Sequence[str], answers: int, draw: random.Random) -> Block:
    """A visitor's prompts, one after another.  `answers`: of the panel that is asked meanwhile; 0: none is."""

    async def again_and_again() -> None:
        while True:
            await ask_panel(inference, answers)

    panel = asyncio.create_task(again_and_again()) if answers else None
    echoes, measured = [], []
    try:
        for prompt in prompts:
            await asyncio.sleep(draw.expovariate(1 / PAUSE_SECONDS))
            measured.append(await inference.visit(prompt))
            echoes.append(asyncio.create_task(inference.background(prompt, ECHOES, "echo")))
        await asyncio.gather(*echoes)
        if panel is not None and panel.done():
            panel.result()
    finally:
        if panel is not None:
            panel.cancel()
            await asyncio.gather(panel, return_exceptions=True)
    return measured


def median(blocks: Sequence[Block], key: str) -> float:
    """Over all prompts of these blocks."""
    return statistics.median(prompt[key] for measured in blocks for prompt in measured if prompt[key] == prompt[key])


def ratio(with_panel: Sequence[Block], without: Sequence[Block], key: str) -> tuple[float, float, float]:
    """The ratio of the medians, and its 95 % interval by bootstrap over blocks."""
    draw = random.Random(0)
    drawn = sorted(
        median(draw.choices(with_panel, k=len(with_panel)), key) / median(draw.choices(without, k=len(without)), key)
        for _ in range(RESAMPLES)
    )
    return median(with_panel, key) / median(without, key), drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40]


async def measure(port: int, options: argparse.Namespace) -> dict[str, Any]:
    """Let the kinds of blocks take turns, then ask the panel alone."""
    inference, draw = Inference(port), random.Random(1)
    questions = [question for question, _ in samples(36)]
    figures: dict[str, list[Block]] = {"without": [], "with": []}
    try:
        await block(inference, questions[:3], options.answers, draw)  # what is done once, is done
        for _ in range(options.turns):
            prompts = draw.sample(questions, options.prompts)
            kinds = list(figures)
            draw.shuffle(kinds)
            for kind in kinds:
                figures[kind].append(await block(inference, prompts, options.answers * (kind == "with"), draw))
        began = time.perf_counter()
        tokens = await ask_panel(inference, options.answers)
        seconds = time.perf_counter() - began
    finally:
        await inference.close()
    lines: dict[str, Any] = {"panel_seconds": round(seconds, 1), "panel_tokens": tokens}
    print(f"{'':<22}{'without':>10}{'with panel':>12}{'ratio':>8}   95 % interval")
    for key, label in (("first_token", "first token, ms"), ("token", "each further, ms")):
        value, low, high = ratio(figures["with"], figures["without"], key)
        without, with_panel = median(figures["without"], key), median(figures["with"], key)
        print(f"{label:<22}{without:>10.1f}{with_panel:>12.1f}{value:>8.2f}   {low:.2f} to {high:.2f}")
        lines[key] = {"without": round(without, 2), "with": round(with_panel, 2), "ratio": round(value, 3)}
        lines[key]["interval"] = [round(low, 3), round(high, 3)]
    lines["share_of_round"] = round(seconds / options.round, 3)
    print(
        f"The panel alone: {tokens} tokens in {seconds:.1f} s, {100 * seconds / options.round:.0f} % of a round of {options.round:g} s."
    )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Start inference, measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="transformers", choices=["transformers", "vllm"])
    parser.add_argument("--turns", type=int, default=10, help="blocks of each kind (10)")
    parser.add_argument("--prompts", type=int, default=8, help="prompts of a visitor in a block (8)")
    parser.add_argument("--answers", type=int, default=8, help="answers to each prompt of the panel (8)")
    parser.add_argument("--round", type=float, default=120.0, help="seconds of a round (120, as with the understudy)")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config, port = folder / "config.yaml", free_port()
        general = {"model_name": "understudy", "inference_port": port, "owner_port": free_port()}
        config.write_text(
            yaml.safe_dump({"general": general, "inference": {"engine": options.engine}}), encoding="utf-8"
        )
        health = f"http://127.0.0.1:{port}/healthz"
        start_server(stack, folder / "inference.log", health, "inference_owner.py", "--config", str(config))
        lines = asyncio.run(measure(port, options))
    print(json.dumps({"benchmark": "panel", "engine": options.engine, "answers": options.answers, **lines}))


if __name__ == "__main__":
    main()
