#!/usr/bin/env python3
"""What our service costs around vLLM: tokens per second and time to the first token, at 1 to 64 streams at a time.

(a) the ceiling: `AsyncLLM.generate` in a process of its own, without HTTP and without text.
(b) vLLM's own OpenAI-compatible server: the fair peer.
(c) ours, as it serves :8011.

All three have the same model and the same arguments for the engine, all three run at the same time, and take turns: one
measurement of each, again and again; printed are medians, and the ratios of (c) to the others.  Answers end by themselves.
The client of (b) and (c) is a process of its own, which on a machine of few cores takes its share of them; (a) has none.
What bounds (c) is one thread: text, log-probabilities and JSON of every token of every stream.

    env/bin/python benchmarks/serving.py [--streams 1,16,64] [--turns 5] [--top 20] [--echoes] [--round] [--without-peer]

`--top 20` asks for each token's twenty likeliest, as the visitor's page does; `--echoes` keeps two prompts with six
answers each under way in the background of every server while it is measured; `--round` trains beside all of them, in a
process of the lowest priority with one thread.  Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import yaml

from benchmarks.round import samples
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids
from wmkml.system.ports import free_port

PROJECT = Path(__file__).resolve().parent.parent

ANSWER_TOKENS = 128
"""The most tokens of an answer; the understudy's end long before."""

REQUESTS = 3
"""How often each stream asks in one measurement; fewer streams ask more often, so that no measurement is very short."""

FEWEST_REQUESTS = 24
START_SECONDS = 300.0
SAMPLING = {"temperature": 0.7, "top_p": 0.9, "frequency_penalty": 1.0}
"""As the settings have it, which the ceiling reads."""

GOALS = {1: 0.97, 16: 0.97, 64: 0.85}


class Measured:
    """A process that carries out commands, a line of JSON each."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def reply(self) -> dict[str, Any]:
        """The next line it writes, leaving out what is no object of JSON, as libraries print it.

        Raises:
            RuntimeError: it has ended.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise RuntimeError(f"{self._process.args!r} has ended")

    def do(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its reply."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.reply()

    def end(self) -> None:
        """Let it end, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def start_server(stack: ExitStack, log: Path, health: str, *command: str) -> None:
    """Start a server, which is killed when `stack` closes, and wait until it is ready.

    Raises:
        RuntimeError: it ended, or is not ready after START_SECONDS; with the end of what it printed.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=PROJECT, stdout=output, stderr=output, start_new_session=True
        )

    def end() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)

    stack.callback(end)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(health, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{command[0]} is not ready: {log.read_text(errors='replace')[-2000:]}")


class Contest:
    """The three that are measured, and the prompts that they are asked."""

    def __init__(self, stack: ExitStack, folder: Path, *, top: int, echoes: bool, peer: bool) -> None:
        """Start all of them, on free ports, with a configuration of their own in `folder`; `stack` ends them."""
        self._top, self._echoes = top, echoes
        self._tokenizer = load_tokenizer(SHIPPED_MODEL)
        self._questions = [question for question, _ in samples(36)]
        config, port, peer_port = folder / "config.yaml", free_port(), free_port()
        self._ports = {"ours": port}
        general = {
            "model_name": "understudy",
            "inference_port": port,
            "owner_port": free_port(),
        }
        config.write_text(yaml.safe_dump({"general": general, "inference": {"engine": "vllm"}}), encoding="utf-8")
        health = f"http://127.0.0.1:{port}/healthz"
        start_server(stack, folder / "ours.log", health, "inference_owner.py", "--config", str(config))
        if peer:
            self._ports["peer"] = peer_port
            command = ("-m", "benchmarks.streams.vllm_server", str(config), str(peer_port))
            start_server(stack, folder / "peer.log", f"http://127.0.0.1:{peer_port}/health", *command)
        self._ceiling = Measured("-m", "benchmarks.streams.ceiling", str(config))
        stack.callback(self._ceiling.end)
        self._ceiling.reply()
        self._client = Measured("-m", "benchmarks.streams.client")
        stack.callback(self._client.end)

    @property
    def names(self) -> list[str]:
        """Who is measured, in the order of their turns."""
        return ["ceiling", *self._ports]

    def measure(self, name: str, streams: int) -> dict[str, float]:
        """One measurement: tokens per second, and the median time to the first token in milliseconds."""
        count = max(FEWEST_REQUESTS, REQUESTS * streams)
        questions = [self._questions[number % len(self._questions)] for number in range(count)]
        # Two prompts with six answers each, as the installation echoes what visitors ask.
        echoes = questions[:2] if self._echoes else []
        if name == "ceiling":
            prompts = [self._ids(question) for question in questions]
            behind_them = [self._ids(question) for question in echoes for _ in range(6)]
            reply = self._ceiling.do(
                streams=streams, prompts=prompts, max_tokens=ANSWER_TOKENS, top=self._top, background=behind_them
            )
        else:
            bodies = [self._body(name, question, self._top) for question in questions]
            behind: dict[str, Any] = {"audience": "echo"} if name == "ours" else {"priority": 10}
            background = [self._body(name, question, 0) | behind | {"n": 6} for question in echoes]
            reply = self._client.do(port=self._ports[name], streams=streams, bodies=bodies, background=background)
        return {
            "rate": reply["tokens"] / reply["seconds"],
            "first_token": 1000 * statistics.median(reply["first_token"]),
        }

    def _ids(self, question: str) -> list[int]:
        return list(prompt_ids(self._tokenizer, [{"role": "user", "content": question}]))

    def _body(self, name: str, question: str, top: int) -> dict[str, Any]:
        likely = {"logprobs": True, "top_logprobs": top} if top else {}
        return {
            "model": {"ours": "current", "peer": "model"}[name],
            "messages": [{"role": "user", "content": question}],
            "max_tokens": ANSWER_TOKENS,
            **SAMPLING,
            **likely,
        }


def table(figures: dict[int, dict[str, list[dict[str, float]]]]) -> dict[str, dict[str, float]]:
    """Print the medians, and return them with their ratios, by the number of streams."""
    lines: dict[str, dict[str, float]] = {}
    print(f"{'streams':>7}  {'':<10}{'tokens/s':>10}{'of (a)':>8}{'of (b)':>8}{'first token':>13}")
    for streams, measured in figures.items():
        medians = {
            name: {key: statistics.median(turn[key] for turn in turns) for key in ("rate", "first_token")}
            for name, turns in measured.items()
        }
        line = lines[str(streams)] = {
            f"{name}_{key}": round(value, 2) for name in medians for key, value in medians[name].items()
        }
        for name, label in (("ceiling", "(a) vLLM"), ("peer", "(b) peer"), ("ours", "(c) ours")):
            if name not in medians:
                continue
            shares = ["", ""]
            for place, other in enumerate(("ceiling", "peer")):
                if name == "ours" and other in medians:
                    ratio = line[f"of_{other}"] = round(medians[name]["rate"] / medians[other]["rate"], 3)
                    shares[place] = f"{ratio:.2f}"
            print(
                f"{streams:>7}  {label:<10}{medians[name]['rate']:>10.0f}{shares[0]:>8}{shares[1]:>8}"
                f"{medians[name]['first_token']:>10.0f} ms"
            )
        goal = f"goal {GOALS[streams]:.2f} of (b), " if streams in GOALS else ""
        print(f"{'':>7}  {goal}first token at most 1.3 of (b)'s")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the three, let them take turns, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,16,64", help="how many streams at a time (1,16,64)")
    parser.add_argument("--turns", type=int, default=5, help="measurements of each (5)")
    parser.add_argument("--top", type=int, default=0, help="likeliest tokens asked for with each token (0)")
    parser.add_argument("--echoes", action="store_true", help="with background answers under way")
    parser.add_argument("--round", action="store_true", help="with a round being trained")
    parser.add_argument("--without-peer", action="store_true", help="leave vLLM's own server out")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contest = Contest(stack, folder, top=options.top, echoes=options.echoes, peer=not options.without_peer)
        if options.round:
            trainer = subprocess.Popen([sys.executable, "-m", "benchmarks.streams.trainer"], cwd=PROJECT)
            stack.callback(trainer.kill)
        for name in contest.names:
            contest.measure(name, 4)  # what is done once, is done
        figures: dict[int, dict[str, list[dict[str, float]]]] = {}
        for streams in map(int, options.streams.split(",")):
            figures[streams] = {name: [] for name in contest.names}
            for _ in range(options.turns):
                for name in contest.names:
                    figures[streams][name].append(contest.measure(name, streams))
    beside = [word for word, there in (("echoes", options.echoes), ("a round", options.round)) if there]
    print(
        f"\nMedians of {options.turns} turns; {options.top} likeliest tokens; beside: {' and '.join(beside) or 'nothing'}"
    )
    lines = table(figures)
    print(json.dumps({"benchmark": "serving", "top": options.top, "beside": beside, "streams": lines}))


if __name__ == "__main__":
    main()
