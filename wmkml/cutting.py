"""Where an answer is cut, so that a reply that ran out of tokens ends with a sentence: the original's rule.

Pure text; knows nothing of tokens, stations or who asks.
"""

from __future__ import annotations

TAIL = 50
"""A newline counts as an end only within so many last characters."""

SENTENCE_ENDS = ".!?…"


def kept_length(text: str) -> int:
    """How many leading characters of an answer are kept.

    At the last newline within the last 50 characters; without one, after the last `.`, `!`, `?` or `…`; without that,
    everything is kept.  White space before the first word is no newline to cut at, so that no answer is cut to nothing.
    """
    start = len(text) - len(text.lstrip())
    newline = text.rfind("\n", max(start, len(text) - TAIL))
    if newline > start:
        return newline
    end = max(text.rfind(mark) for mark in SENTENCE_ENDS)
    return end + 1 if end >= 0 else len(text)
