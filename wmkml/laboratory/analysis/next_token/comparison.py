"""Measures several models on the same corpus, one after the other; models whose state is whole are not loaded again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from wmkml.engine.setup import EngineSetup
from wmkml.laboratory.analysis.loading import check_memory_of, loaded_models, model_window
from wmkml.laboratory.analysis.next_token.documents import CorpusFileError, check_ending
from wmkml.laboratory.analysis.next_token.measuring import (
    CorpusSums,
    NextTokenOptions,
    StateFile,
    measure_corpus,
)
from wmkml.laboratory.analysis.next_token.results import next_token_result
from wmkml.laboratory.analysis.next_token.scoring import ModelScorer
from wmkml.laboratory.analysis.sources import ModelSource

ENDS_BYTES = 1 << 20

OnProgress = Callable[[str, str, int, int], None]
"""Called with a label, a file's name, how many bytes of it are read, and how many documents were measured."""


def check_corpus(files: Sequence[Path]) -> None:
    """Raises CorpusFileError unless every file is there, not empty, and in a form that is read."""
    for path in files:
        check_ending(path)
        if not path.is_file():
            raise CorpusFileError(f"{path} cannot be read: there is no such file.")
        if not path.stat().st_size:
            raise CorpusFileError(f"{path} is empty.")
    if len(set(files)) < len(files):
        raise CorpusFileError("--corpus: a file is given twice.")


def common_window(sources: Sequence[ModelSource]) -> int:
    """The longest window that all of these models have, at most `loading.DEFAULT_WINDOW`."""
    return min(model_window(source.folder) for source in sources)


def compare_next_tokens(
    sources: Sequence[ModelSource],
    files: Sequence[Path],
    options: NextTokenOptions,
    device: torch.device,
    dtype: torch.dtype,
    states: Path | None = None,
    on_progress: OnProgress = lambda label, name, done, documents: None,
) -> dict[str, dict[str, Any]]:
    """What `next_token_result` gives of every model, by label.

    Args:
        states: a folder for what is needed to go on later; what is there is continued.

    Raises:
        CorpusFileError, SourceError, MemoryShortError, StateMismatchError, NotFiniteError: with a sentence.
    """
    check_corpus(files)
    check_memory_of(sources, device, dtype, tokens=max(options.batch_tokens, options.window))
    kept = {
        source.label: _state_of(number, source, files, options, dtype, states) for number, source in enumerate(sources)
    }
    results: dict[str, dict[str, Any]] = {}
    for source in sources:
        if (ended := _ended(kept[source.label], source, files, options)) is not None:
            results[source.label] = ended
    left = [source for source in sources if source.label not in results]
    for source, loaded in loaded_models(left, device, dtype):
        scorer = ModelScorer(loaded.model, device)

        def on_read(name: str, done: int, documents: int, label: str = source.label) -> None:
            on_progress(label, name, done, documents)

        corpus = measure_corpus(scorer, loaded.encode, loaded.prefix, files, options, kept[source.label], on_read)
        results[source.label] = next_token_result(corpus, options, scorer.vocabulary)
    return {source.label: results[source.label] for source in sources}


def _state_of(
    number: int,
    source: ModelSource,
    files: Sequence[Path],
    options: NextTokenOptions,
    dtype: torch.dtype,
    states: Path | None,
) -> StateFile | None:
    if states is None:
        return None
    states.mkdir(parents=True, exist_ok=True)
    description = {
        "source": source.identity(),
        "files": [[str(path), path.stat().st_size, _ends_digest(path)] for path in files],
        "options": asdict(options),
        "dtype": str(dtype),
    }
    return StateFile(states / f"next_token-{number}.npz", description)


def _ends_digest(path: Path) -> str:
    """A digest of a file's first and last ENDS_BYTES: what tells whether it is still the same one, without reading it all."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(ENDS_BYTES))
        stream.seek(max(0, path.stat().st_size - ENDS_BYTES))
        digest.update(stream.read(ENDS_BYTES))
    return digest.hexdigest()


def _ended(
    state: StateFile | None, source: ModelSource, files: Sequence[Path], options: NextTokenOptions
) -> dict[str, Any] | None:
    """The result of a state in which every file was read to its end; None where there is more to do."""
    if state is None or not state.path.is_file():
        return None
    vocabulary = _vocabulary(source.folder)
    corpus = CorpusSums.begun(files, vocabulary, options)
    corpus.restore(state.path, state.description)
    if not corpus.ended:
        return None
    vocabulary = len(next(iter(corpus.files.values())).ranks.a)
    return next_token_result(corpus, options, vocabulary)


def _vocabulary(folder: Path) -> int:
    config = EngineSetup(model=folder, adapters=1, rank=1).config
    return int((config.get("text_config") or config)["vocab_size"])
