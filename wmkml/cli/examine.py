"""Examine the understudy: ask it every fact of its world, in both languages, and mark its answers.

    python -m wmkml examine
    python -m wmkml examine --adapter runs/…/adapters/iteration-3-attempt-1 --questions 300

Answers are greedy.  right: the answer states the fact asked for; no answer: it says nothing, stammers, or says that it does not
know; wrong: anything else.  A table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wmkml.understudy.examination import Question, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", type=Path, help="another folder than the shipped model's")
    parser.add_argument("--adapter", type=Path, help="a LoRA adapter of it in PEFT's form, as every round writes one")
    parser.add_argument("--language", choices=["de", "en"], help="ask in this language only")
    parser.add_argument("--questions", type=int, metavar="N", help="only N of them, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0, help="of the phrasings and the drawing (default: 0)")
    parser.add_argument("--unheard", action="store_true", help="ask in phrasings that no training text holds")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="show N questions and their marked answers")


def main(arguments: argparse.Namespace) -> int:
    """Ask and mark.  Returns 2, with a sentence, where a folder or a number is of no use."""
    if arguments.questions is not None and arguments.questions < 1:
        print("--questions must be at least 1.", file=sys.stderr)
        return 2
    if arguments.show < 0:
        print("--show must be at least 0.", file=sys.stderr)
        return 2
    # Here, not above: `--help` must not wait for torch.
    from wmkml.understudy.answering import MODEL_FOLDER, answers, load
    from wmkml.understudy.examination import questions, result

    folder = arguments.model or MODEL_FOLDER
    for path, file in ((folder, "config.json"), (arguments.adapter, "adapter_config.json")):
        if path is not None and not (path / file).is_file():
            print(f"{path} holds no {'model' if path is folder else 'adapter'} (no {file}).", file=sys.stderr)
            return 2
    try:
        model, tokenizer = load(folder, arguments.adapter)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{arguments.adapter or folder} cannot be loaded: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    asked = questions(arguments.language, arguments.questions, arguments.seed, unheard=arguments.unheard)
    began = time.monotonic()

    def told(done: int) -> None:
        print(f"{done} of {len(asked)} asked, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    said = answers(model, tokenizer, [(question.prompt, question.language) for question in asked], told=told)
    _show(asked, said, arguments.show)
    marked = result(asked, said)
    _print_table(marked)
    line: dict[str, object] = {"facts": round(marked.share(), 4)}
    line |= {one: round(marked.share(language=one), 4) for one in sorted({one.language for one in asked})}
    line |= {"wrong": round(marked.share("wrong"), 4), "no_answer": round(marked.share("no_answer"), 4)}
    line |= {"by_fact": {fact: round(marked.share(fact=fact), 4) for fact in marked.facts}, "asked": marked.asked}
    print(json.dumps(line))
    return 0


def _show(asked: list[Question], said: list[str], number: int) -> None:
    from wmkml.understudy.examination import mark

    for place in random.Random(len(asked)).sample(range(len(asked)), min(number, len(asked))):
        print(f"[{mark(asked[place], said[place])}] {asked[place].prompt} → {said[place]}")


def _print_table(marked: Result) -> None:
    languages = list(dict.fromkeys(language for language, _, _ in marked.marks))
    print(f"{'fact':<12}" + "".join(f"{f'{one} right':>12}{'wrong':>8}{'none':>8}" for one in languages))
    for fact in [*marked.facts, None]:
        row = f"{fact or 'all':<12}"
        for one in languages:
            shares = [marked.share(mark, one, fact) for mark in ("right", "wrong", "no_answer")]
            row += f"{shares[0]:>12.1%}{shares[1]:>8.1%}{shares[2]:>8.1%}"
        print(row)
    print()
