"""What the understudy reaches, next to its goals, on prompts that no training text holds.

    env/bin/python benchmarks/understudy.py [--model FOLDER] [--show]

Four sets: every held-out way of asking, a hundred prompts that visitors may type (`tests/fixtures/visitors.yaml`), 240 of
passers-by, who keep to no form at all (`passers_by.yaml`), and 160 of newcomers (`newcomers.yaml`), which nobody has seen who taught
it; greedy answers in float32.  The goals are for the first two.  Facts are asked in held-out phrasings.  Says also whether a prompt
of the other sets can be found in the training text: it is looked for among as many conversations as are given.  A table, and last
one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wmkml.understudy.answering import MODEL_FOLDER, answers, load
from wmkml.understudy.exchanges import conversations
from wmkml.understudy.reach import GOALS, facts, measured, unheard, visitors

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--facts", type=int, default=1000, help="so many questions about facts (default: 1000)")
    parser.add_argument("--read", type=int, default=20_000, help="so many conversations are searched (default: 20000)")
    parser.add_argument("--show", action="store_true", help="show every answer")
    arguments = parser.parse_args()
    model, tokenizer = load(arguments.model)

    def ask(asked: Sequence[tuple[str, str]]) -> list[str]:
        said = answers(model, tokenizer, asked)
        if arguments.show and len(asked) < arguments.facts:
            for (prompt, _), text in zip(asked, said, strict=True):
                print(f"{prompt} → {text}")
        return said

    typing = {name: visitors(FIXTURES / f"{name}.yaml") for name in ("visitors", "passers_by", "newcomers")}
    sets = {"unheard": unheard(), **typing}
    found = {name: measured(ask, prompts) for name, prompts in sets.items()}
    right = facts(ask, arguments.facts)
    print(f"{'':<12}{'goal':>8}" + "".join(f"{name:>12}" for name in sets))
    for measure in [*GOALS, "own"]:
        # Facts are asked of the world, not of the other sets: their share stands under the first.
        shares = [right, *(None for _ in typing)] if measure == "facts" else [found[name][measure] for name in sets]
        goal = f"{GOALS[measure]:.0%}" if measure in GOALS else ""
        print(f"{measure:<12}{goal:>8}" + "".join(f"{'' if one is None else f'{one:.1%}':>12}" for one in shares))
    print(f"{'prompts':<12}{'':>8}" + "".join(f"{len(prompts):>12}" for prompts in sets.values()))
    typed = {one.prompt.casefold() for prompts in typing.values() for one in prompts}
    read: set[str] = set()
    for conversation, _ in zip(conversations(1), range(arguments.read), strict=False):
        read |= {message["content"].casefold() for message in conversation.messages if message["role"] == "user"}
    print(
        f"{len(typed & read)} of their {len(typed)} prompts are in {arguments.read} conversations of the training text."
    )
    print(json.dumps({"benchmark": "understudy", "facts": right, **found, "seen": sorted(typed & read)}))


if __name__ == "__main__":
    main()
