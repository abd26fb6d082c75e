"""Where an answer is cut, by the original's rule, so that a reply that ran out of tokens ends with a sentence."""

from __future__ import annotations

TAIL = 50
"""Characters at the end of an answer within which a newline is a place to cut."""

SENTENCE_ENDS = ".!?…"


def kept_length(text: str) -> int:
    """The number of leading characters of an answer that are kept.

    The cut is at the last newline within the last TAIL characters, else after the last of SENTENCE_ENDS; without
    either, everything is kept.  Newlines before the first word do not count, so no answer is cut to nothing.
    """
    start = len(text) - len(text.lstrip())
    newline = text.rfind("\n", max(start, len(text) - TAIL))
    if newline > start:
        return newline
    end = max(text.rfind(mark) for mark in SENTENCE_ENDS)
    return end + 1 if end >= 0 else len(text)
