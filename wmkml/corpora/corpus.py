"""`read(source)`: any words as a corpus, whose pairs are streamed as often as they are wanted.

Nothing is held in memory but what is read at the moment, whatever the size of the file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from wmkml.corpora.columns import Columns
from wmkml.corpora.encodings import Position, TextFile
from wmkml.corpora.pairs import CorpusError, Entry, Pair, Part, Record, RefusedLine
from wmkml.corpora.readers.delimited import read_delimited
from wmkml.corpora.readers.hub import ID, read_hub
from wmkml.corpora.readers.instructions import read_instructions, read_prompt_lines
from wmkml.corpora.readers.json_records import read_json_array, read_json_lines
from wmkml.corpora.readers.parquet import read_parquet
from wmkml.corpora.readers.prose import PASSAGE_LENGTH, TextRule, looks_like_verse, read_prose
from wmkml.corpora.readers.run_folder import DATABASE, read_run
from wmkml.corpora.recognition import ENDINGS, MARKDOWN, Recognised, recognise
from wmkml.corpora.records import PARTS, RecordReader

LOOKED_AT = 100
"""Records by which a file's form is told."""

NOT_WORDS = ("readme", "license", "licence", "notice", "copying", "changelog")
"""Names of files about a folder rather than of it; they are not read with it."""


@dataclass(frozen=True)
class ReadingOptions:
    """How to read a source; the defaults tell everything by its content.

    Attributes:
        format: one of `recognition.FORMATS`; empty: told by content and ending.
        columns: which columns are prompt and answer.
        encoding: of a text file; empty: told by its bytes.
        text_rule: what raw text becomes.
        passage_length: characters of a passage at most.
        hold_out: share of the training part that becomes the evaluation part, 0 to below 1; the same prompts, or
            conversations, at every reading, and none of them in both.
        seed: of that choice.
        subset: a hub data set's configuration.
    """

    format: str = ""
    columns: Columns = field(default_factory=Columns)
    encoding: str = ""
    text_rule: TextRule = "passages"
    passage_length: int = PASSAGE_LENGTH
    hold_out: float = 0.0
    seed: int = 0
    subset: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.hold_out < 1.0:
            raise CorpusError(f"The share held out is {self.hold_out:g}; allowed: 0 to below 1.")
        if self.passage_length < 1:
            raise CorpusError(f"A passage of {self.passage_length} characters cannot be; allowed: at least 1.")


@dataclass(frozen=True)
class Counts:
    """How many pairs a corpus holds, in all and in each part, and how many lines were refused."""

    pairs: int
    train: int
    evaluation: int
    refused: int


class Corpus:
    """A source of pairs.

    Reading is streamed: `entries()`, `pairs()`, `train()` and `evaluation()` go through the source anew at each call.

    Attributes:
        source: the path, or the hub data set's id.
        form: what its records are, as told from the first of them: alpaca, chat, instructions, …; several with a comma;
            of a folder those of its files, all of them once it was read to its end.
        encoding: of its text, for people; empty for what is no text.
        position: how far the last reading has come, in bytes.
        may_be_verse: its lines are read as prompts, by no more than their looks, and most end without the mark of a sentence.
    """

    def __init__(self, source: str, recognised: Recognised, options: ReadingOptions) -> None:
        self.source = source
        self.position = Position()
        self._recognised = recognised
        self._options = options
        self._counts: Counts | None = None
        self.encoding = recognised.encoding.name if recognised.encoding else ""
        self.form: str = recognised.form
        self.may_be_verse = False
        self._forms: dict[str, None] = {}

    def entries(self) -> Iterator[Entry]:
        """Every pair, and a refusal in place of each line that was left out, in the order of the source.

        Raises:
            CorpusError: the source cannot be read (on).
        """
        self.position.done = 0
        pairs = train = refused = 0
        for entry in self._entries():
            if isinstance(entry, RefusedLine):
                refused += 1
                yield entry if entry.file else replace(entry, file=self.source)
                continue
            pair = self._in_its_part(entry)
            pairs += 1
            train += pair.part == "train"
            yield pair
        self._counts = Counts(pairs, train, pairs - train, refused)
        self.form = ", ".join(self._forms) or self.form

    def pairs(self, part: Part | None = None) -> Iterator[Pair]:
        """The pairs of one part, or of both."""
        for entry in self.entries():
            if isinstance(entry, Pair) and part in (None, entry.part):
                yield entry

    def train(self) -> Iterator[Pair]:
        """The pairs to train on."""
        return self.pairs("train")

    def evaluation(self) -> Iterator[Pair]:
        """The pairs to evaluate with: the evaluation part or, where there is none, the training part.

        `evaluates_on_training` tells which; say so wherever a figure of it is shown.
        """
        return self.pairs("train" if self.evaluates_on_training else "evaluation")

    @property
    def evaluates_on_training(self) -> bool:
        """Whether there is no evaluation part; may read the source once."""
        return self.counts().evaluation == 0

    def counts(self) -> Counts:
        """The sizes of its parts; reads the source once, unless it was read to its end before."""
        if self._counts is None:
            for _ in self.entries():
                pass
        assert self._counts is not None
        return self._counts

    def look(self) -> None:
        """Read the first records to tell the form, and find out early that nothing can be read.

        Raises:
            CorpusError: the source cannot be read.
        """
        reader = self._record_reader()
        entries = self._entries(reader)
        seen = Counter[str]()
        lines: list[str] = []
        for _, entry in zip(range(LOOKED_AT), entries, strict=False):
            if isinstance(entry, Pair):
                seen["passages" if entry.is_passage else "prompts" if entry.answer is None else "pairs"] += 1
                lines.append(entry.prompt)
        self.may_be_verse = (
            (self._recognised.container, self.form, self._options.format) == ("lines", "prompts", "")
        ) and looks_like_verse(lines)
        entries.close()  # type: ignore[attr-defined]  # a generator, whose file is closed now and not some time
        if self._forms:
            self.form = ", ".join(self._forms)
        if not self.form:
            self.form = ", ".join(form for form, _ in reader.forms.most_common()) or (
                "prompts" if seen["prompts"] else "unknown"
            )

    def _in_its_part(self, pair: Pair) -> Pair:
        """The pair, in the evaluation part if it is among those held out: all pairs of a conversation are, or none."""
        share = self._options.hold_out
        if not share or pair.part == "evaluation":
            return pair
        first = next((turn.text for turn in pair.context if turn.role == "user"), pair.prompt or pair.answer or "")
        digest = hashlib.blake2b(f"{self._options.seed}:{first}".encode(), digest_size=8).digest()
        return replace(pair, part="evaluation") if int.from_bytes(digest, "big") < share * 2**64 else pair

    def _record_reader(self) -> RecordReader:
        form = self._recognised.form
        table = self._recognised.container in ("csv", "tsv")
        # `columns` asks for a prompt and an answer in whatever columns, which each record tells by itself.
        return RecordReader("" if form == "columns" else form, self._options.columns, table)

    def _entries(self, reader: RecordReader | None = None) -> Iterator[Entry]:
        reader = reader or self._record_reader()
        try:
            yield from reader.entries(self._records())
        except OSError as error:
            raise CorpusError(f"{self.source} cannot be read: {error.strerror or error}.") from None

    def _records(self) -> Iterator[Record | Entry]:
        options, recognised, path = self._options, self._recognised, Path(self.source)
        match recognised.container:
            case "hub":
                return iter(read_hub(self.source, options.subset))
            case "folder":
                return self._folder(path)
            case "run":
                return read_run(path / DATABASE if path.is_dir() else path)
            case "parquet":
                return read_parquet(path, self.position)
        assert recognised.encoding is not None
        self.position.total = path.stat().st_size
        file = TextFile(path, recognised.encoding, self.position)
        match recognised.container, recognised.form:
            case "csv", form:
                return read_delimited(file, options.columns, form)
            case "tsv", form:
                return read_delimited(file, options.columns, form, "\t")
            case "json", _:
                return read_json_array(file)
            case "jsonl", _:
                return read_json_lines(file)
            case _, "instructions":
                return read_instructions(file)
            case _, "text":
                return read_prose(file, options.text_rule, options.passage_length)
        return read_prompt_lines(file)

    def _folder(self, folder: Path) -> Iterator[Entry]:
        files = files_below(folder)
        parts = {path: _part_of(path, folder) for path in files}
        if set(parts.values()) == {"evaluation"}:  # a folder of nothing but tests is read as any other
            parts = dict.fromkeys(files)
        self.position.total = sum(path.stat().st_size for path in files)
        for path in files:
            try:
                # A share to hold out is taken here, from the folder as a whole.
                corpus = read(path, replace(self._options, hold_out=0.0))
            except CorpusError as error:
                yield RefusedLine(0, str(error), str(path))
                continue
            self._forms |= dict.fromkeys(corpus.form.split(", "))
            part = parts[path]
            before = self.position.done
            for entry in corpus._entries():
                self.position.done = before + corpus.position.done
                if isinstance(entry, RefusedLine):
                    yield entry if entry.file else replace(entry, file=str(path))
                else:
                    yield replace(entry, part=part) if part else entry
            self.position.done = before + path.stat().st_size


def read(source: str | Path, options: ReadingOptions | None = None) -> Corpus:
    """Open a source: a file, a folder of files, a run folder, or the id of a hub data set.

    Its form is told by its content and ending, or forced by `options.format`.  Only its beginning is read here.

    Raises:
        CorpusError: nothing can be read from it; the message says why, and what was expected.
    """
    options = options or ReadingOptions()
    path = Path(source)
    try:
        if options.format == "hub" or (not path.exists() and ID.fullmatch(str(source))):
            corpus = Corpus(str(source), Recognised("hub"), options)
        elif not path.exists():
            raise CorpusError(
                f"There is no file or folder {source}, and it is no id of a hub data set (owner/name) either."
            )
        elif not path.is_file() and not path.is_dir():
            raise CorpusError(f"{source} is neither a file nor a folder: it is read more than once, so save it as one.")
        else:
            recognised = recognise(path, options.format, options.encoding)
            if options.columns.wanted and recognised.container == "lines":
                recognised = replace(recognised, container="csv", form="")  # who asks for columns has a table
            corpus = Corpus(str(source), recognised, options)
            if path.is_dir() and corpus.form != "run" and not files_below(path):
                raise CorpusError(f"The folder {source} holds no file that is read: {', '.join(ENDINGS)}.")
    except (OSError, ValueError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    corpus.look()
    return corpus


def files_of(folder: Path) -> list[Path]:
    """The files that are read of a folder, by name: those with a known ending; hidden ones and those about it are not.

    Markdown counts where there is nothing else.
    """
    return _without_markdown(sorted(path for path in folder.iterdir() if _is_read(path)))


def files_below(folder: Path) -> list[Path]:
    """Those of a folder and of all folders below it, folder by folder; of a run's folder its database.

    Hidden folders are left out, and links to folders are not followed.  Markdown counts where there is nothing else in all of them.
    """
    paths: list[Path] = []
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(inner for inner in folders if inner[0] not in "._")
        if name != str(folder) and DATABASE in files:
            folders.clear()
            paths.append(Path(name, DATABASE))
            continue
        paths += sorted(path for path in (Path(name, file) for file in files) if _is_read(path))
    return _without_markdown(paths)


def _without_markdown(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() not in MARKDOWN] or paths


def _is_read(path: Path) -> bool:
    named = path.stem.casefold()
    return path.suffix.lower() in ENDINGS and path.name[0] not in "._" and not any(named == name for name in NOT_WORDS)


def _part_of(path: Path, folder: Path) -> Part | None:
    """The part that a file's name tells by a word of it, as train.jsonl, spells-test.csv or validation_1.txt do.

    Where it tells none, the nearest folder below `folder` that has the whole name of a part.
    """
    words = re.split(r"[^a-z]+", path.stem.casefold())
    folders = reversed([name.casefold() for name in path.parent.relative_to(folder).parts])
    return next((PARTS[word] for word in (*words, *folders) if word in PARTS), None)
