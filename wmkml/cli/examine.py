"""Examine the understudy: ask it every fact of its world, in both languages, and mark its answers.

    python -m wmkml examine
    python -m wmkml examine --adapter runs/…/adapters/iteration-3-attempt-1 --questions 300

Answers are greedy.  right: the answer states the fact asked for; no answer: it is empty, stammers, or says that it does
not know; wrong: anything else.  Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

from wmkml.adapters.files import CONFIG_FILE
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.understudy.examination import ExamQuestion, ExamResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--model", type=Path, help="the model's folder (default: the shipped model's)")
    parser.add_argument(
        "--adapter", type=Path, help="folder of a LoRA adapter in PEFT's format, as every round writes one"
    )
    parser.add_argument("--language", choices=["de", "en"], help="ask in this language only")
    parser.add_argument("--questions", type=int, metavar="N", help="ask N questions, drawn by the seed (default: all)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the phrasings and of the questions drawn (default: 0)"
    )
    parser.add_argument("--unheard", action="store_true", help="ask in phrasings that no training text holds")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="show N questions and their marked answers")


def main(arguments: argparse.Namespace) -> int:
    """Ask and mark.  Returns 2, with a sentence on stderr, when a folder or a number cannot be used."""
    if arguments.questions is not None and arguments.questions < 1:
        print("--questions must be at least 1.", file=sys.stderr)
        return 2
    if arguments.show < 0:
        print("--show must be at least 0.", file=sys.stderr)
        return 2
    folder = arguments.model or SHIPPED_MODEL
    for path, file in ((folder, "config.json"), (arguments.adapter, CONFIG_FILE)):
        if path is not None and not (path / file).is_file():
            print(f"{path} holds no {'model' if path is folder else 'adapter'} (no {file}).", file=sys.stderr)
            return 2
    # Imported here: neither `--help` nor what is wrong with the arguments must wait for torch.
    from wmkml.understudy.answering import answer_all, load_model
    from wmkml.understudy.examination import draw_questions, mark_all

    try:
        model, tokenizer = load_model(folder, arguments.adapter)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{arguments.adapter or folder} cannot be loaded: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    questions = draw_questions(arguments.language, arguments.questions, arguments.seed, held_out=arguments.unheard)
    began = time.monotonic()

    def print_progress(done: int) -> None:
        print(f"{done} of {len(questions)} asked, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    prompts = [(question.prompt, question.language) for question in questions]
    answers = answer_all(model, tokenizer, prompts, on_answered=print_progress)
    _print_samples(questions, answers, arguments.show)
    result = mark_all(questions, answers)
    _print_table(result)
    languages = sorted({question.language for question in questions})
    summary: dict[str, object] = {"facts": round(result.share(), 4)}
    summary |= {language: round(result.share(language=language), 4) for language in languages}
    summary |= {"wrong": round(result.share("wrong"), 4), "no_answer": round(result.share("no_answer"), 4)}
    summary |= {"by_fact": {fact: round(result.share(fact=fact), 4) for fact in result.facts}, "asked": result.total}
    print(json.dumps(summary))
    return 0


def _print_samples(questions: list[ExamQuestion], answers: list[str], number: int) -> None:
    from wmkml.understudy.examination import mark

    for index in random.Random(len(questions)).sample(range(len(questions)), min(number, len(questions))):
        question, answer = questions[index], answers[index]
        print(f"[{mark(question, answer)}] {question.prompt} → {answer}")


def _print_table(result: ExamResult) -> None:
    languages = list(dict.fromkeys(language for language, _, _ in result.marks))
    print(f"{'fact':<12}" + "".join(f"{f'{language} right':>12}{'wrong':>8}{'none':>8}" for language in languages))
    for fact in [*result.facts, None]:
        row = f"{fact or 'all':<12}"
        for language in languages:
            shares = [result.share(mark, language, fact) for mark in ("right", "wrong", "no_answer")]
            row += f"{shares[0]:>12.1%}{shares[1]:>8.1%}{shares[2]:>8.1%}"
        print(row)
    print()
