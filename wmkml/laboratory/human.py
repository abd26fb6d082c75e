"""Text that the dying model did not say: pairs of a CSV written by people, or of the generator that taught the understudy.

Knows files and the understudy's generator; knows nothing of rounds.
"""

from __future__ import annotations

import csv
from pathlib import Path

COLUMNS = ("prompt", "answer")


class HumanUnusable(ValueError):
    """A file that holds no pairs.  Its text says which, and what it should hold."""


def read_human(path: Path) -> list[tuple[str, str]]:
    """The pairs of a CSV with the columns `prompt` and `answer`.

    Raises:
        HumanUnusable: it cannot be read, has no such columns, or no pair.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HumanUnusable(f"{path} cannot be read as a CSV in UTF-8 ({type(error).__name__}).") from None
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise HumanUnusable(
            f"{path} needs a first row that names the columns {' and '.join(COLUMNS)}, and pairs below."
        )
    pairs = [(str(row["prompt"] or "").strip(), str(row["answer"] or "").strip()) for row in rows]
    pairs = [(prompt, answer) for prompt, answer in pairs if prompt and answer]
    if not pairs:
        raise HumanUnusable(f"{path} holds no row with both a prompt and an answer.")
    return pairs


def write_human(language: str, count: int, seed: int) -> list[tuple[str, str]]:
    """So many first exchanges in a language, from the generator of what the understudy was taught."""
    from wmkml.understudy.exchanges import Writer

    writer = Writer(seed)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        talk = writer.conversation()
        if talk.language == language:
            first = [message["content"] for message in talk.messages if message["role"] != "system"][:2]
            pairs.append((first[0], first[1]))
    return pairs
