"""Words to train on: any file, folder or hub data set as a corpus of pairs, and the prompt sets of the installation.

`corpus.py` has the one entry, `read(source)`; `readers/` a reader for each form; `datasets.py` the sets under `Datasets/`.
All of that needs the standard library only, since the owner uses it; Parquet and the hub import theirs when they are asked
for.  `token_counts.py` counts with a tokenizer.
"""

from wmkml.corpora.columns import Columns, Template
from wmkml.corpora.corpus import Corpus, Counts, ReadingOptions, read
from wmkml.corpora.datasets import Dataset, check_datasets, is_adult, list_datasets, read_dataset
from wmkml.corpora.markup import CHAT_MARKUP
from wmkml.corpora.pairs import CorpusError, Pair, Part, RefusedLine, Turn
from wmkml.corpora.prompts import PROMPT_HEADERS, DatasetPrompt, Problem, PromptFile, read_prompts

__all__ = [
    "CHAT_MARKUP",
    "PROMPT_HEADERS",
    "Columns",
    "Corpus",
    "CorpusError",
    "Counts",
    "Dataset",
    "DatasetPrompt",
    "Pair",
    "Part",
    "Problem",
    "PromptFile",
    "ReadingOptions",
    "RefusedLine",
    "Template",
    "Turn",
    "check_datasets",
    "is_adult",
    "list_datasets",
    "read",
    "read_dataset",
    "read_prompts",
]
