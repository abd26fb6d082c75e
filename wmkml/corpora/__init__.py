"""Prompt sets: read, checked, and counted for the model in use.

`prompts.py` reads files and folders and names what is wrong by line (standard library alone: the owner uses it);
`preparing.py` counts tokens and may load a tokenizer.  Knows nothing of training or of who asks the prompts.
"""

from wmkml.corpora.datasets import Dataset, check_all, list_datasets, read_dataset
from wmkml.corpora.prompts import CHAT_MARKUP, PROMPT_HEADERS, Problem, Prompt, PromptFile, read_prompts

__all__ = [
    "CHAT_MARKUP",
    "PROMPT_HEADERS",
    "Dataset",
    "Problem",
    "Prompt",
    "PromptFile",
    "check_all",
    "list_datasets",
    "read_dataset",
    "read_prompts",
]
