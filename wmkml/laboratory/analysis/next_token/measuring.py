"""Next-token diversity of one model over files: reads, cuts, asks and sums, in constant memory; goes on where it was.

Documents are gathered until their windows hold BATCH_TOKENS, and then asked for together.  Between two such gatherings
nothing is pending: there the state is written down, so that what is resumed adds the same numbers in the same order.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wmkml.laboratory.analysis.next_token.documents import CorpusFileError, Document, read_documents
from wmkml.laboratory.analysis.next_token.scoring import NotFiniteError, Scorer
from wmkml.laboratory.analysis.next_token.sums import DocumentSums, TokenSums
from wmkml.laboratory.analysis.next_token.windows import TokenWindow, rolling_windows
from wmkml.system import durable_files

BATCH_TOKENS = 4096
"""Tokens, padding included, that the model reads at once, unless a window is longer."""

SAVED_EVERY = 20.0
"""Seconds between two states on the disk."""

Encode = Callable[[str], Sequence[int]]
"""From a text to its token ids, without special tokens."""


@dataclass(frozen=True)
class NextTokenOptions:
    """How a corpus is measured; part of a state, which another of them does not continue.

    Attributes:
        window: most tokens that the model reads at once.
        stride: tokens predicted per window; as many as the window has: disjoint windows.
        max_docs: documents of each file at most; None: all.
        field: of a line of JSON, that holds the text.
        batch_tokens: tokens that the model reads at once, padding included.
    """

    window: int
    stride: int
    max_docs: int | None = None
    field: str = "text"
    batch_tokens: int = BATCH_TOKENS


@dataclass
class FileProgress:
    """How far a file has been read.

    Attributes:
        offset: in uncompressed bytes.
        documents: how many were measured; refused: how many could not be used, and the first reason.
    """

    offset: int = 0
    documents: int = 0
    refused: int = 0
    first_refusal: str = ""
    ended: bool = False


@dataclass
class CorpusSums:
    """What is known of a model so far: a file's sums and progress for each file, in order."""

    files: dict[str, TokenSums] = field(default_factory=dict)
    progress: dict[str, FileProgress] = field(default_factory=dict)
    settled: bool = True
    """Whether sums and progress tell of the same documents; not while some are being added."""

    @property
    def ended(self) -> bool:
        """Whether every file was read to its end."""
        return all(progress.ended for progress in self.progress.values())

    @classmethod
    def begun(cls, files: Sequence[Path], vocabulary: int, options: NextTokenOptions) -> CorpusSums:
        """Nothing is known of any file yet."""
        corpus = cls()
        for path in files:
            corpus.files[str(path)] = TokenSums(vocabulary, options.window)
            corpus.progress[str(path)] = FileProgress()
        return corpus

    def save(self, path: Path, description: Any) -> None:
        """Write all of it, whole or not at all."""
        arrays = {f"{name}\n{part}": value for name, sums in self.files.items() for part, value in sums.state().items()}
        about = {"description": description, "progress": {name: asdict(item) for name, item in self.progress.items()}}
        stream = io.BytesIO()
        np.savez(stream, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]  # arrays by name
        durable_files.replace(path, stream.getvalue())

    def restore(self, path: Path, description: Any) -> None:
        """Go on from what was written.

        Raises:
            StateMismatchError: it is of another analysis, or cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as state:
                about = json.loads(str(state["about"]))
                if about["description"] != json.loads(json.dumps(description)):
                    raise StateMismatchError(
                        f"{path} is of another model, corpus, window or stride. Give another --out, or delete it."
                    )
                for name, sums in self.files.items():
                    prefix = f"{name}\n"
                    sums.restore({key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)})
                    self.progress[name] = FileProgress(**about["progress"][name])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            if isinstance(error, StateMismatchError):
                raise
            raise StateMismatchError(f"{path} cannot be read ({type(error).__name__}). Delete it.") from None


class StateMismatchError(ValueError):
    """A state on the disk cannot be continued.  The message says which, and what to do."""


@dataclass(frozen=True)
class StateFile:
    """Where the state is kept, and of what it is (for JSON)."""

    path: Path
    description: Any


OnRead = Callable[[str, int, int], None]
"""Called with a file's name, how many bytes of it are read, and how many documents were measured."""


def measure_corpus(
    scorer: Scorer,
    encode: Encode,
    prefix: int,
    files: Sequence[Path],
    options: NextTokenOptions,
    state: StateFile | None = None,
    on_read: OnRead = lambda name, done, documents: None,
) -> CorpusSums:
    """Measure every file.

    Args:
        encode: a text's tokens, without special ones.
        prefix: the token before a document's first one.
        state: continued if it exists, and kept up to date.

    Raises:
        CorpusFileError: a file cannot be read, or holds no document.
        NotFiniteError: the model is broken.
        StateMismatchError: the state is of another analysis.
    """
    corpus = CorpusSums.begun(files, scorer.vocabulary, options)
    if state is not None and state.path.is_file():
        corpus.restore(state.path, state.description)
    try:
        for path in files:
            _measure_file(_Reader(scorer, encode, prefix, path, options), corpus, state, on_read)
    finally:
        # Whatever interrupted this: unless it came while documents were being added; then the state before counts.
        if state is not None and corpus.settled:
            corpus.save(state.path, state.description)
    return corpus


@dataclass(frozen=True)
class _Reader:
    """A file, and all that is needed to measure it."""

    scorer: Scorer
    encode: Encode
    prefix: int
    path: Path
    options: NextTokenOptions


class _Pending:
    """Documents whose windows are not asked for yet, and what is added to the file's sums when they are."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self.tokens = 0
        self._windows: list[tuple[TokenWindow, DocumentSums]] = []
        self._documents: list[tuple[DocumentSums, int, int, int]] = []

    def add(self, text: str) -> None:
        """Add a document; where it is long, its first windows are asked for at once."""
        reader, options = self._reader, self._reader.options
        tokens = reader.encode(text)
        sums = DocumentSums(reader.scorer.vocabulary, options.window)
        waiting = 0
        for window in rolling_windows(tokens, reader.prefix, options.window, options.stride):
            self._windows.append((window, sums))
            waiting += len(window.inputs)
            self.tokens += len(window.inputs)
            if waiting >= options.batch_tokens:
                self.ask()
                waiting = 0
        if tokens:
            self._documents.append((sums, len(tokens), count_words(text), len(text.encode())))

    def add_to(self, into: TokenSums) -> None:
        """Add every document, all of which were asked for."""
        for document in self._documents:
            into.add(*document)
        self._documents, self.tokens = [], 0

    def ask(self) -> None:
        """Ask for all windows that are pending."""
        # Longest first, so that windows of similar length are padded to each other.
        ordered = sorted(self._windows, key=lambda pair: len(pair[0].inputs), reverse=True)
        for batch in _batches(ordered, self._reader.options.batch_tokens):
            scores = self._reader.scorer.score([window for window, _ in batch])
            for (_, sums), of_window in zip(batch, scores, strict=True):
                sums.add(of_window)
        self._windows = []


def count_words(text: str) -> int:
    r"""How many parts `re.split(r"\s+", text)` gives, an empty one before and behind included, in a fifth of its time."""
    words = len(text.split())
    if not words:
        return 2 if text else 1
    return words + text[0].isspace() + text[-1].isspace()


def _batches(
    ordered: Iterable[tuple[TokenWindow, DocumentSums]], limit: int
) -> Iterable[list[tuple[TokenWindow, DocumentSums]]]:
    """Batches of at most `limit` tokens with padding; the windows are in order, longest first."""
    batch: list[tuple[TokenWindow, DocumentSums]] = []
    for pair in ordered:
        if batch and (len(batch) + 1) * len(batch[0][0].inputs) > limit:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def _measure_file(reader: _Reader, corpus: CorpusSums, state: StateFile | None, on_read: OnRead) -> None:
    name, options = str(reader.path), reader.options
    sums, progress = corpus.files[name], corpus.progress[name]
    if progress.ended:
        return
    pending, seen = _Pending(reader), FileProgress(**asdict(progress))
    saved_at = time.monotonic()

    def settle(*, ended: bool) -> None:
        nonlocal saved_at
        try:
            pending.ask()
        except NotFiniteError as error:
            raise NotFiniteError(f"{error} ({name}, before byte {seen.offset})") from None
        corpus.settled = False
        pending.add_to(sums)
        seen.ended = ended
        vars(progress).update(asdict(seen))
        corpus.settled = True
        if state is not None and time.monotonic() - saved_at > SAVED_EVERY:
            corpus.save(state.path, state.description)
            saved_at = time.monotonic()

    for document in read_documents(reader.path, progress.offset, options.field):
        if options.max_docs is not None and seen.documents >= options.max_docs:
            break
        _take(document, seen, pending)
        if pending.tokens >= options.batch_tokens:
            settle(ended=False)
            on_read(name, seen.offset, seen.documents)
    settle(ended=True)
    on_read(name, seen.offset, seen.documents)
    if not progress.documents:
        reason = f" The first that was refused: {progress.first_refusal}." if progress.refused else ""
        raise CorpusFileError(f"{name} holds no document.{reason}")


def _take(document: Document, seen: FileProgress, pending: _Pending) -> None:
    seen.offset = document.end
    if document.refusal:
        seen.refused += 1
        seen.first_refusal = seen.first_refusal or document.refusal
    else:
        seen.documents += 1
        pending.add(document.text)
