"""Human pairs to mix into the training: from any file of pairs, or from the generator of the understudy's training text."""

from __future__ import annotations

import functools
from pathlib import Path

from wmkml.corpora import CorpusError, read

HELD_OUT_PAIRS = 150
HELD_OUT_SEED = 2**31
"""Number of pairs that are only read, and the seed that writes them; the seeds of runs' own pairs are smaller."""


class HumanTextError(ValueError):
    """The file holds no pairs.  The message names the file and what it should hold."""


def read_human_pairs(path: Path) -> list[tuple[str, str]]:
    """The pairs to train on of a file in any form that `corpora` reads; what goes on a conversation is left out.

    Raises:
        HumanTextError: it cannot be read, or holds no pair.
    """
    try:
        pairs = [
            (pair.prompt, pair.answer)
            for pair in read(path).train()
            if pair.prompt and pair.answer and not pair.context
        ]
    except CorpusError as error:
        raise HumanTextError(f"{path} cannot be read: {error}") from None
    if not pairs:
        raise HumanTextError(
            f"{path} holds no prompt with an answer: a CSV with the columns prompt and answer, or any other file of pairs."
        )
    return pairs


@functools.lru_cache(maxsize=8)
def held_out_pairs(path: Path | None, language: str) -> tuple[tuple[str, str], ...]:
    """Pairs that are only read: those of a file, or newly written ones by the understudy's generator.

    Raises:
        HumanTextError: as `read_human_pairs`.
    """
    if path is not None:
        return tuple(read_human_pairs(path)[:HELD_OUT_PAIRS])
    return tuple(generate_human_pairs(language, HELD_OUT_PAIRS, HELD_OUT_SEED))


def generate_human_pairs(language: str, count: int, seed: int) -> list[tuple[str, str]]:
    """`count` pairs in a language: first exchanges of conversations by the understudy's generator."""
    from wmkml.understudy.exchanges import ConversationWriter

    writer = ConversationWriter(seed)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        conversation = writer.write_conversation()
        if conversation.language == language:
            contents = [message["content"] for message in conversation.messages if message["role"] != "system"]
            pairs.append((contents[0], contents[1]))
    return pairs
