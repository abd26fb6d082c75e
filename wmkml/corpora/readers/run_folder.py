"""Run folders: the pairs of a run's database, as the installation and the laboratory leave it behind.

Only the documented table is read, and nothing is written: a run that goes on is not disturbed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from wmkml.corpora.pairs import CorpusError, Entry, Pair, RecordRefusedError, RefusedLine, clean

DATABASE = "run.sqlite"


def read_run(database: Path) -> Iterator[Entry]:
    """The pairs in the order in which they were made, each answer whole, each source the pair's category; the line is
    the pair's number.

    Raises:
        CorpusError: it is no database of a run.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(str(database.resolve()))}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise CorpusError(f"{database} cannot be opened: {error}.") from None
    try:
        for number, source, prompt, answer in connection.execute(
            "SELECT pair, source, prompt, answer FROM pairs ORDER BY pair"
        ):
            try:
                yield Pair(
                    clean(str(prompt), "the prompt"),
                    clean(str(answer), "the answer"),
                    category=str(source),
                    line=int(number),
                )
            except RecordRefusedError as refusal:
                yield RefusedLine(int(number), str(refusal))
    except (sqlite3.Error, ValueError) as error:
        raise CorpusError(f"{database} is no database of a run, or damaged: {error}.") from None
    finally:
        connection.close()
