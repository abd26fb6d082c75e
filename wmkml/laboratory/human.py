"""Human pairs to mix into the training: from any file of pairs, or from the generator of the understudy's training text."""

from __future__ import annotations

from pathlib import Path

from wmkml.corpora import CorpusError, read


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
