#!/usr/bin/env python3
"""How fast a round trains in our loop and in its peers', on this machine, with the same model and samples.

(a) the original: a new `transformers.Trainer` for the round, every sample padded to 512 tokens, one batch per epoch.
(b) ours: the model wrapped once before all rounds, length-sorted micro-batches; without padding where FlashAttention is.
(c) TRL's SFTTrainer, a new one for each round as its users make it; padded to the longest sample of the batch, or not at
    all where flash-attn is installed on a GPU.  `pip install -r benchmarks/requirements.txt`.
(d) Unsloth in that trainer, on an NVIDIA GPU where it is installed.

All take the same optimizer steps (one per epoch) on the same tokens, in the same precision, from a LoRA of the same form,
and write an adapter.  Ours also tokenizes and checks what it wrote; loading the base model is not included.  What bounds
it: arithmetic.  A token costs 4 FLOPs for each parameter that is multiplied with it: 2 forward, 2 for the gradient of its
inputs; the base is frozen, so none for its own gradient.  The output head counts, the embedding look-up does not, nor do
attention, norms, the LoRA and padding.  Their share of the device's rate on matrix products of the model's own shapes, in
the number format of training, is what is left to win.  Losses must agree to 2 % (dropout is drawn differently), gradients
must not be zero and the adapter must change: a round that trained something else, or nothing, is refused.

On a CPU rounds alternate.  On a GPU, where not all models fit at once, one way follows the other.

    env/bin/python benchmarks/round.py [--rounds N] [--samples N] [--model FOLDER] [--threads N] [--precision P]

Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.gpu_steps.training import FLOPS, matrix_parameters
from benchmarks.ways import EPOCHS, RoundFigures, RoundSetting, refusal, serve
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.launcher.memory.model import shape_of
from wmkml.training.base_model import choose_precision

NAMES = {"original": "(a) original", "ours": "(b) ours", "trl": "(c) TRL", "unsloth": "(d) Unsloth"}
LOSS_TOLERANCE = 0.02
"""How far a round's losses may be from ours, relative: dropout and rounding."""

QUESTIONS = ("What is {}?", "Was ist {}?", "Tell me about {}.", "Erzähl mir von {}.")
THINGS = ("a language", "das Meer", "the moon", "ein Haus", "bread", "die Zeit", "a friend", "der Winter", "a song")
ANSWERS = (
    "{} is something that everybody knows and nobody can keep.",
    "{} ist etwas Altes. Man trägt es im Mund und in der Hand, und abends wird es leise.",
    "I would say that {} is made of small things: a word, a stone, a little light. It does not last, and that is good.",
    "{} gehört allen. Wer es verliert, sucht lange danach, und wer es findet, erkennt es nicht sofort wieder.",
)


def samples(count: int) -> list[tuple[str, str]]:
    """`count` (prompt, answer) pairs of lengths typical of the understudy."""
    pairs = []
    for number in range(count):
        thing = THINGS[number % len(THINGS)]
        question, answer = QUESTIONS[number % len(QUESTIONS)], ANSWERS[(number // 3) % len(ANSWERS)]
        pairs.append((question.format(thing), answer.format(thing)))
    return pairs


class WayProcess:
    """A way in its process.

    Attributes:
        rounds: the figures of the rounds that it trained.
        trouble: why it did not run, or its rounds are refused; None while neither is so.
    """

    def __init__(self, way: str, setting: RoundSetting) -> None:
        self.way = way
        self.rounds: list[RoundFigures] = []
        self.trouble: str | None = None
        context = multiprocessing.get_context("spawn")
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=serve, args=(way, setting, far_end), daemon=True)
        self._process.start()
        far_end.close()
        answer = self._receive()
        if answer != "ready":
            self.trouble = f"not run: {answer}"

    def train(self, number: int) -> None:
        """Train a round, unless the way is in trouble."""
        if self.trouble:
            return
        self._pipe.send(number)
        answer = self._receive()
        if not isinstance(answer, dict):
            self.trouble = f"not run: {answer}"
            return
        figures = RoundFigures(**answer)
        self.rounds.append(figures)
        if reason := refusal(figures):
            self.trouble = f"refused: {reason}"
        print(f"{NAMES[self.way]}, round {number}: {figures.seconds:.2f} s", file=sys.stderr, flush=True)

    def rate(self) -> float:
        """FLOPs a second on products of the model's own shapes."""
        self._pipe.send("rate")
        answer = self._receive()
        if not isinstance(answer, float):
            raise RuntimeError(f"The device's rate could not be measured: {answer}")
        return answer

    def close(self) -> None:
        """End the process and wait until it is gone, and with it its memory."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(20)
        self._process.kill()
        self._process.join()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join(5)
            return f"its process ended with status {self._process.exitcode}"


@contextlib.contextmanager
def way_process(way: str, setting: RoundSetting) -> Iterator[WayProcess]:
    """A way in its process, which ends with this."""
    process = WayProcess(way, setting)
    try:
        yield process
    finally:
        process.close()


def measure(setting: RoundSetting, ways: list[str], rounds: int, alternate: bool) -> tuple[list[WayProcess], float]:
    """Train all rounds of all ways; returns them, and the device's rate: the median of before, between and after."""
    done: list[WayProcess] = []
    rates: list[float] = []
    # A round of each first, which is not counted: what is loaded and compiled lazily is then in place.
    numbers = range(rounds + 1)
    with contextlib.ExitStack() as stack:
        if alternate:
            done = [stack.enter_context(way_process(way, setting)) for way in ways]
            for number in numbers:
                for process in done:
                    process.train(number)
                rates += [process.rate() for process in done if process.way == "ours" and not process.trouble]
        else:
            for way in ways:
                with way_process(way, setting) as process:
                    for number in numbers:
                        process.train(number)
                    rates += [process.rate()] if way == "ours" and not process.trouble else []
                done.append(process)
    for process in done:
        process.rounds = process.rounds[1:]
    return done, statistics.median(rates) if rates else float("nan")


def compare(processes: list[WayProcess]) -> None:
    """Refuse ways whose rounds have other losses or tokens than ours."""
    rounds_of_ours = next(
        (process.rounds for process in processes if process.way == "ours" and not process.trouble), []
    )
    for process in processes:
        for our_round, peer_round in zip(rounds_of_ours, process.rounds, strict=False):
            pairs = list(zip(our_round.losses, peer_round.losses, strict=False))
            if len(our_round.losses) != len(peer_round.losses) or any(
                abs(b / a - 1) > LOSS_TOLERANCE for a, b in pairs
            ):
                process.trouble = (
                    process.trouble or f"refused: its losses are {peer_round.losses}, ours {our_round.losses}"
                )
            if our_round.tokens != peer_round.tokens:
                process.trouble = (
                    process.trouble or f"refused: it read {peer_round.tokens} tokens, ours {our_round.tokens}"
                )


def summary(process: WayProcess, parameters: int, rate: float) -> dict[str, Any]:
    """The figures of a way: medians of its rounds, losses of the last."""
    if process.trouble:
        return {"result": process.trouble}
    seconds = statistics.median(figures.seconds for figures in process.rounds)
    last = process.rounds[-1]
    return {
        "result": "ok",
        "seconds": round(seconds, 4),
        "tokens_a_second": round(last.tokens / seconds, 1),
        "share_of_matmul": round(FLOPS * parameters * last.tokens / seconds / rate, 4),
        "gradient_norm": round(last.gradient_norms[-1], 6),
        "adapter_change": round(last.adapter_change, 6),
        "losses": [round(loss, 4) for loss in last.losses],
    }


def main() -> int:
    """Measure and print the table and the line of JSON; status 1 if a way was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how many rounds of each (5), after one not counted")
    parser.add_argument("--samples", type=int, default=60, help="samples in a round (60, the original's first round)")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="a model's folder (the understudy)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads of each (all cores)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--ways", default=",".join(NAMES), help=f"which of {', '.join(NAMES)} (all)")
    arguments = parser.parse_args()
    ways = [way for way in NAMES if way in arguments.ways.split(",")]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(arguments.model, arguments.precision, device)
    setting = RoundSetting(arguments.model, precision, tuple(samples(arguments.samples)), arguments.threads)
    load_before = os.getloadavg()[0]
    processes, rate = measure(setting, ways, arguments.rounds, alternate=device.type == "cpu")
    compare(processes)
    figures = {
        process.way: summary(process, matrix_parameters(shape_of("", arguments.model)), rate) for process in processes
    }
    ratios = {
        way: round(line["seconds"] / figures["ours"]["seconds"], 2)
        for way, line in figures.items()
        if way != "ours" and "seconds" in line and "seconds" in figures.get("ours", {})
    }
    print("\n".join(table(figures, ratios, rate)))
    line = {
        "benchmark": "round",
        "ratios": ratios,
        "ways": figures,
        "matmul_gflops": round(rate / 1e9, 2),
        "precision": precision,
        "samples": arguments.samples,
        "epochs": EPOCHS,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "load_before": round(load_before, 2),
    }
    print(json.dumps(line))
    return 1 if any(figure["result"].startswith("refused") for figure in figures.values()) else 0


def table(figures: dict[str, dict[str, Any]], ratios: dict[str, float], rate: float) -> list[str]:
    """The lines for people."""
    head = f"{'':<14}{'seconds':>9}{'tokens/s':>10}{'share':>8}{'gradient':>10}{'losses':>18}{'/ ours':>8}"
    rows = [f"\nmatrix products of the model's shapes: {rate / 1e9:.1f} GFLOPs a second", head]
    for way, line in figures.items():
        if line["result"] != "ok":
            rows.append(f"{NAMES[way]:<14}{line['result']}")
            continue
        losses = f"{line['losses'][0]:.4f} {line['losses'][-1]:.4f}"
        ratio = f"{ratios[way]:.2f}" if way in ratios else ""
        rows.append(
            f"{NAMES[way]:<14}{line['seconds']:>9.3f}{line['tokens_a_second']:>10,.0f}{line['share_of_matmul']:>8.1%}"
            f"{line['gradient_norm']:>10.4f}{losses:>18}{ratio:>8}"
        )
    return [*rows, "goals on a CPU: (a) at least 5, (c) at least 2, our share 70 %\n"]


if __name__ == "__main__":
    sys.exit(main())
