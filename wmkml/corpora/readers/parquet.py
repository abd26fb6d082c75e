"""Parquet, a batch of rows of one row group at a time, through pyarrow (the extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wmkml.corpora.encodings import Position
from wmkml.corpora.pairs import CorpusError, Record

BATCH = 1000
"""Rows that are in memory together."""

BUFFER = 1 << 20
"""Bytes of a column that are read ahead."""


def read_parquet(path: Path, position: Position) -> Iterator[Record]:
    """A record for each row; its line is the row's number from 1.

    Raises:
        CorpusError: pyarrow is not installed, or the file is damaged.
        OSError: it may not be read.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise CorpusError(
            f"{path}: Parquet needs pyarrow, which is not installed: pip install 'wmkml[parquet]'"
        ) from None
    try:
        # By default pyarrow fetches all row groups ahead, and whole columns of them.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
            rows = max(1, file.metadata.num_rows)
            position.total, number = path.stat().st_size, 0
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(BATCH, row_groups=[group], use_threads=False):
                    for values in batch.to_pylist():
                        number += 1
                        yield Record(number, values)
                    position.done = position.total * number // rows
    except (pyarrow.ArrowException, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
