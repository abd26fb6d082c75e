"""Whether answers state a fact that is known.  Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")
SENTENCES = 2
"""A fact counts in so many first sentences: otherwise an answer that lists everything would be right."""


def fact_accuracy(texts: Sequence[str], expected: Sequence[str]) -> float | None:
    """Share (0 to 1) of answers that are right by `states_fact`; None without an answer or without what is expected."""
    if not texts or not expected:
        return None
    return sum(states_fact(text, expected) for text in texts) / len(texts)


def states_fact(text: str, expected: Sequence[str]) -> bool:
    """Whether the first SENTENCES sentences hold one of the expected texts as whole words, in any case of letters."""
    beginning = " ".join(SENTENCE_END.split(text.strip())[:SENTENCES]).casefold()
    return any(re.search(rf"(?<!\w){re.escape(fact.casefold())}(?!\w)", beginning) for fact in expected if fact)
