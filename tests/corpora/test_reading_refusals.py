"""What cannot be read: each line is refused by number with what was expected, and nothing is ever a traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wmkml.corpora import Columns, Corpus, CorpusError, Pair, ReadingOptions, RefusedLine, read
from wmkml.corpora.encodings import MAX_LINE
from wmkml.corpora.recognition import ENDINGS, FORMATS

Written = Callable[..., Corpus]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A function that writes a file and reads it as a corpus."""

    def write_and_read(name: str, content: str | bytes, **options: object) -> Corpus:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(path, ReadingOptions(**options))  # type: ignore[arg-type]

    return write_and_read


def refusals(corpus: Corpus) -> list[tuple[int, str]]:
    return [(entry.line, entry.reason) for entry in corpus.entries() if isinstance(entry, RefusedLine)]


GOOD = '{"prompt": "Hi", "completion": "Ho"}'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"prompt": "Hi", "completion": "Ho"', "expected a JSON object on the line; at column 36"),
        ('["prompt"]', "expected an object with named values, found a list"),
        ("null", "found null"),
        ('{"prompt": "Hi", "completion": ""}', "the answer is empty"),
        ('{"prompt": "Hi", "completion": null}', "the answer is empty"),
        ('{"prompt": "Hi", "completion": ["Ho"]}', "completion: expected text, found a list"),
        ('{"prompt": "Hi", "completion": true}', "completion: expected text, found true"),
        ('{"instrution": "Hi", "outptu": "Ho"}', "did you mean instruction by instrution?"),
        ("{}", "no column is known as a prompt among none"),
        ('{"messages": "Hi"}', "found text that is no JSON"),
        ('{"messages": {"role": "user"}}', "expected a list of messages"),
        ('{"messages": []}', "holds no answer"),
        ('{"messages": ["Hi"]}', "message 1: expected an object with role and content"),
        ('{"messages": [{"content": "Hi"}]}', "message 1 has no role"),
        ('{"messages": [{"role": "user"}]}', "message 1 has no text; expected content or value"),
        ('{"messages": [{"role": "tool", "content": "Hi"}]}', "message 1 has the role tool; expected system, user"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "a part that is no text"),
        ('{"messages": [{"role": "user", "content": "Hi"}]}', "holds no answer"),
        ('{"conversations": [{"from": "gpt", "value": "Ho"}]}', "holds no answer"),
        ('{"prompt": "\\ud83d", "completion": "Ho"}', "half a character"),
        ('{"prompt": "Hi\\u0000", "completion": "Ho"}', "control character U+0000"),
        ('{"prompt": "[INST] Hi [/INST]", "completion": "Ho"}', "chat markup [INST] in the prompt"),
        ("[" * 50_000, "too deeply nested"),
        ('{"prompt": ' + "9" * 5_000 + "}", "thousands of digits"),
    ],
)
def test_a_line_is_refused_with_what_was_expected(written: Written, line: str, expected: str) -> None:
    corpus = written("a.jsonl", f"{GOOD}\n\n{line}\n{GOOD}\n")
    ((number, reason),) = refusals(corpus)
    assert number == 3 and expected in reason
    assert corpus.counts().pairs == 2, "the lines around it are read"


def test_an_answer_before_any_prompt_is_left_out_and_the_rest_read(written: Written) -> None:
    turns = [{"from": "gpt", "value": "Welcome."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    corpus = written("a.json", json.dumps([{"conversations": turns}]))
    assert list(corpus.pairs()) == [Pair("Hi", "Ho")]
    assert "message 1 is an answer without a prompt before it" in refusals(corpus)[0][1]


@pytest.mark.parametrize(
    ("content", "line", "expected"),
    [
        ('[\n{"prompt": "a", "completion": "b"},\n{"prompt": oops}\n]', 3, "nothing after it is read"),
        ('[\n{"prompt": "a", "completion": "b"}\n{"prompt"', 3, "expected , or ]"),
        ('[\n{"prompt": "a", "completion": "b"}\n', 3, "the array is not closed"),
        ('[\n{"prompt": "a", "completion": "b"},\n', 3, "the array is not closed"),
        ('[{"prompt": "a", "completion": "b"}]\n\nmore', 3, "text after the end of the array"),
        ('[{"prompt": "a", "completion": "b"},\n"text"]', 2, "expected an object with named values, found text"),
    ],
)
def test_an_array_is_refused_from_where_it_breaks(written: Written, content: str, line: int, expected: str) -> None:
    corpus = written("a.json", content)
    ((number, reason),) = refusals(corpus)
    assert (number, corpus.counts().pairs) == (line, 1) and expected in reason


@pytest.mark.parametrize(
    ("content", "numbers", "pairs"),
    [
        ('prompt,answer\n"a,b\nc,d\ne,f\n', [2], ["c", "e"]),
        ('prompt,answer\na,"b\nc,d\n"e,f\n', [2, 4], ["c"]),
        ('prompt,answer\n"a"x,b\nc,d\n', [], ["ax", "c"]),
        ("prompt,answer\na,b,c\nc,d,\n", [2], ["c"]),
        ("prompt,answer\na\nc,d\n", [2], ["c"]),
        (f"prompt,answer\na,{'x' * 200_000}\nc,d\n", [2], ["c"]),
    ],
)
def test_a_row_is_refused_and_the_rows_around_it_read(
    written: Written, content: str, numbers: list[int], pairs: list[str]
) -> None:
    corpus = written("a.csv", content)
    assert [number for number, _ in refusals(corpus)] == numbers
    assert [pair.prompt for pair in corpus.pairs()] == pairs


@pytest.mark.parametrize("piece", [1, 3, 17])
def test_an_array_is_read_in_pieces(written: Written, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmkml.corpora.readers.json_records.PIECE", piece)
    records = [{"prompt": f"ä {n} \\u0041 ]", "completion": "x\u2028" * 30 + "x", "n": -12345.5e-3} for n in range(20)]
    corpus = written("a.json", f" {json.dumps(records, indent=1)} ")
    assert [pair.prompt for pair in corpus.pairs()] == [record["prompt"] for record in records]
    assert [pair.line for pair in corpus.pairs()] == list(range(2, 102, 5))


def test_a_line_of_an_instruction_file_without_a_mark_is_refused(written: Written) -> None:
    corpus = written("a.txt", "a # b\nno mark\n # c\nd #\ne # f\ng # h\ni # j\n")
    assert [(number, reason.partition(";")[0]) for number, reason in refusals(corpus)] == [
        (2, "expected instruction # answer"),
        (4, "the answer is empty"),
    ], "line 3 begins with # and is a comment"


def test_a_line_without_an_end_is_not_read_whole(written: Written) -> None:
    corpus = written("a.jsonl", f"{GOOD}\n" + "x" * (2 * MAX_LINE + 5) + f"\n{GOOD}\n")
    assert [number for number, _ in refusals(corpus)] == [2] and corpus.counts().pairs == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "name,year,body\nA,1900,Some words here.\n",
            "line 1: no column is known as a prompt among name, year",
        ),
        ("a.csv", "promt,answer\nHi there you,Ho!\n", "did you mean prompt by promt"),
        ("a.json", "\n\nwords", "line 3: expected JSON"),
        ("a.json", '{\n  "data": []\n}', "goes on over several lines"),
        ("a.png", b"\x89PNG\r\n", "a picture"),
    ],
)
def test_a_file_is_refused_with_what_was_expected(
    written: Written, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        written(name, content)


def test_a_missing_column_is_named_with_the_nearest(written: Written) -> None:
    columns = Columns("Titel", "jaar")
    with pytest.raises(
        CorpusError, match=r"line 1: there is no column jaar; there are: titel, jahr; did you mean jahr\?"
    ):
        written("a.csv", "titel,jahr\nA,1\n", columns=columns)
    corpus = written("a.jsonl", '{"titel": "A", "jahr": 1}\n', columns=columns)
    assert refusals(corpus) == [(1, "there is no column jaar; there are: titel, jahr; did you mean jahr?")]
    with pytest.raises(CorpusError, match="no column jaar"):
        written("a.txt", "titel\tjahr\nA\t1\n", columns=columns)
    empty = written("a.csv", "titel,jahr\nA,\nB,2\n", columns=Columns("titel", answer_template="Im Jahr {jahr}."))
    assert refusals(empty) == [(2, "the column jahr is empty")]


@pytest.mark.parametrize("template", ["{", "a } b", "{}", "none"])
def test_a_template_that_cannot_be_filled_is_refused(written: Written, template: str) -> None:
    with pytest.raises(CorpusError, match="template"):
        written("a.csv", "a,b\n1,2\n", columns=Columns(prompt_template=template))


def test_forms_that_are_not_there_are_refused(written: Written, tmp_path: Path) -> None:
    corpus = written("a.jsonl", GOOD, format="alpaca")
    assert refusals(corpus)[0][1].startswith("expected instruction and output")
    with pytest.raises(CorpusError, match=r"expected lines of instruction # answer"):
        written("a.jsonl", GOOD, format="instructions")
    with pytest.raises(CorpusError, match="no format 'xml'"):
        written("a.jsonl", GOOD, format="xml")
    with pytest.raises(CorpusError, match="holds no file that is read"):
        (tmp_path / "empty").mkdir()
        read(tmp_path / "empty")
    with pytest.raises(CorpusError, match="There is no file or folder"):
        read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("module", ["pyarrow", "datasets"])
def test_what_is_not_installed_is_named_with_its_extra(
    written: Written, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = {"pyarrow": "parquet", "datasets": "hub"}[module]
    with pytest.raises(CorpusError, match=rf"pip install 'wmkml\[{extra}\]'"):
        written("a.parquet", b"PAR1....PAR1") if module == "pyarrow" else read("someone/some-words")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dots.txt", "." * 1_000_000 + "x\n"),
        ("dots.md", "# a\n" + ".'" * 500_000),
        ("blanks.txt", "#" + " " * 1_000_000 + "x y\n" * 3),
        ("marks.csv", 'prompt,answer\n"' + 'x",\n"' * 10_000),
        ("open.csv", "prompt,answer\n" + 'a,"b\n' * 3_001),
        ("talk.jsonl", json.dumps({"messages": [{"role": r, "content": "a"} for r in ("user", "assistant")] * 40_000})),
        ("keys.jsonl", json.dumps({f"instrution{n}": "a" for n in range(50_000)})),
        ("key.jsonl", json.dumps({"instrution" * 100_000: "a"})),
        ("deep.json", "[" * 1_000_000),
        ("word.txt", "x" * 6_000_000),
    ],
)
def test_no_text_takes_longer_than_its_length(written: Written, name: str, content: str) -> None:
    corpus = written(name, content, text_rule="sentence")
    assert all(len(reason) < 2_000 for _, reason in refusals(corpus))


# Whatever a file holds

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = """prompt answer completion instruction input output response context category messages conversations history system
split text Role value"""
NAMES = st.sampled_from(KEYS.split()) | st.text(max_size=8)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "from", "content", "value", "weight", "tool_calls", "text"]), VALUES | st.sampled_from(
        ["user", "assistant", "system", "human", "gpt"]), max_size=4), max_size=4)  # fmt: skip
RECORDS = st.lists(st.dictionaries(NAMES, VALUES | MESSAGES, max_size=5) | VALUES, max_size=5)


def read_through(path: Path, options: ReadingOptions) -> None:
    """Read it whole; a refusal of the file is fine, any other exception is not."""
    try:
        corpus = read(path, options)
        entries = list(corpus.entries())
    except CorpusError as error:
        assert str(error)
        return
    for entry in entries:
        if isinstance(entry, Pair):
            assert entry.prompt or entry.answer
            assert json.dumps([entry.prompt, entry.answer], ensure_ascii=False).encode(), "it can be written"
        else:
            assert entry.reason and entry.line >= 0
    counts = corpus.counts()
    assert counts.pairs + counts.refused == len(entries)


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FORMATS_OF_FILES = st.sampled_from(["", *(name for name in FORMATS if name != "hub")])


@FUZZ
@given(
    content=st.binary(max_size=200) | st.text('abc "#,;\t\n\r{}[]:\\\ufeffä\x00', max_size=200).map(str.encode),
    ending=st.sampled_from([*ENDINGS, ""]),
    forced=FORMATS_OF_FILES,
    rule=st.sampled_from(["passages", "sentence", "heading"]),
)
@example(content=b"PAR1abc", ending=".parquet", forced="", rule="passages")
@example(content=b"SQLite format 3\x00", ending=".txt", forced="", rule="passages")
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, ending: str, forced: str, rule: str) -> None:
    path = tmp_path / f"file{ending}"
    path.write_bytes(content)
    read_through(path, ReadingOptions(format=forced, text_rule=rule))  # type: ignore[arg-type]


@pytest.mark.slow
@FUZZ
@given(records=RECORDS, array=st.booleans(), forced=FORMATS_OF_FILES, template=st.booleans())
def test_any_records_are_read_or_refused(
    tmp_path: Path, records: list[object], array: bool, forced: str, template: bool
) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(records) if array else "".join(f"{json.dumps(record)}\n" for record in records))
    columns = Columns(prompt_template="{prompt}: {input}", answer="output") if template else Columns()
    read_through(path, ReadingOptions(format=forced, columns=columns))
