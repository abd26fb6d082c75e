"""A data set of the Hugging Face hub by its id, streamed through `datasets` (the extra `hub`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wmkml.corpora.pairs import CorpusError, Record
from wmkml.corpora.records import PARTS

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def read_hub(name: str, subset: str) -> Iterator[Record]:
    """A record for each row of every split; a split named test, validation or the like is the evaluation part.

    Args:
        subset: the data set's configuration, for those that have several; empty: its only or default one.

    Raises:
        CorpusError: `datasets` is not installed, there is no such data set, or it cannot be fetched.
    """
    try:
        import datasets
    except ModuleNotFoundError:
        raise CorpusError(
            f"{name}: a data set of the Hugging Face hub needs datasets, which is not installed: pip install 'wmkml[hub]'"
        ) from None
    try:
        splits = datasets.load_dataset(name, subset or None, streaming=True)
        for split, rows in splits.items():
            part = PARTS.get(str(split).partition("_")[0].casefold(), "train")
            for number, values in enumerate(rows, start=1):
                yield Record(number, values, part)
    # The errors of a dozen libraries for files, formats, pictures and the network come through here.
    except Exception as error:  # noqa: BLE001 - told as a sentence that names the data set
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CorpusError(
            f"The data set {name} of the Hugging Face hub cannot be read: {reason[0].rstrip('.')}. Is its id right (owner/name), the "
            "network there, and, for a closed one, HF_TOKEN set?"
        ) from None
