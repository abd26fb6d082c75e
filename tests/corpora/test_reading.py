"""Reading any words: each form is told by its content, in every encoding that is read, and streams the pairs it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from wmkml.config.paths import PROJECT
from wmkml.corpora import Columns, Corpus, CorpusError, Pair, ReadingOptions, Turn, read
from wmkml.runs.folder import create_run
from wmkml.runs.schema import NewPair

EXAMPLES = PROJECT / "examples" / "corpora"

Written = Callable[..., Corpus]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """A function that writes a file and reads it as a corpus."""

    def write_and_read(name: str, content: str | bytes, **options: object) -> Corpus:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(path, ReadingOptions(**options))  # type: ignore[arg-type]

    return write_and_read


def asked(corpus: Corpus) -> list[tuple[str, str | None]]:
    return [(pair.prompt, pair.answer) for pair in corpus.pairs()]


# The examples that docs/corpora.md shows

SHOWN: dict[str, tuple[str, list[Pair]]] = {
    "prompts.csv": (
        "prompts",
        [
            Pair("Was riecht nach Regen?", None),
            Pair("Wenn es schneit, wer ist dann leise?", None),
            Pair('Was heißt "zu Hause"?', None),
        ],
    ),
    "prompts.txt": (
        "prompts",
        [
            Pair("What does rain smell of?", None),
            Pair("Describe a Monday to somebody who has none.", None),
            Pair("Who is quiet when it snows?", None),
        ],
    ),
    "columns.tsv": ("columns", [Pair("What is blue?", "The sky at noon."), Pair("What is slow?", "Honey in winter.")]),
    "instructions.txt": (
        "instructions",
        [
            Pair("Zaubere Regen.", "Tropf, tropf, Wolke, komm und klopf!"),
            Pair("Zaubere Wind.", "Saus, saus, Wolke, komm ins Haus!"),
            Pair("Zaubere C# um.", "Fis, Fis, bleib wie es is!"),
            Pair("Zaubere Schnee.", "Flock, flock, Wolke, zieh den Rock!", part="evaluation"),
        ],
    ),
    "alpaca.json": (
        "alpaca",
        [Pair("Name a colour of the sea.", "Grey, before rain."), Pair("Count the words.\n\nHere I am.", "Three.")],
    ),
    "dolly.jsonl": (
        "dolly",
        [
            Pair("When did the shop open?\n\nThe shop opened in 1921.", "In 1921.", category="closed_qa"),
            Pair("Why do cats purr?", "To say that all is well.", category="open_qa"),
        ],
    ),
    "chat.jsonl": (
        "chat",
        [
            Pair("Hello!", "Hello.", (Turn("system", "You are brief."),)),
            Pair(
                "How are you?",
                "Well.",
                (Turn("system", "You are brief."), Turn("user", "Hello!"), Turn("assistant", "Hello.")),
            ),
            Pair("Say nothing.", "…"),
        ],
    ),
    "sharegpt.json": (
        "sharegpt",
        [
            Pair("Who are you?", "A voice."),
            Pair("Whose?", "Nobody's.", (Turn("user", "Who are you?"), Turn("assistant", "A voice."))),
            Pair("Sing.", "La."),
        ],
    ),
    "completion.jsonl": (
        "completion",
        [Pair("The opposite of loud is", "quiet."), Pair("The opposite of full is", "hungry.")],
    ),
    "story.txt": (
        "text",
        [
            Pair(
                "",
                "There was a house at the end of the street. Nobody had\nlived in it since the spring. At night its "
                "windows were\nthe darkest of all.\n\nOne evening there was a light. It went from room to room,\n"
                "as if it looked for something.",
            )
        ],
    ),
    "notes.md": ("text", [Pair("", "# Rain\n\nIt begins on the roof.\n\n# Snow\n\nIt begins nowhere, and is there.")]),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_example_is_told_and_read(name: str) -> None:
    form, pairs = SHOWN[name]
    corpus = read(EXAMPLES / name)
    assert (corpus.form, list(corpus.entries())) == (form, pairs)
    assert read(EXAMPLES / name, ReadingOptions(format=form)).counts() == corpus.counts(), "forced to what it is"


def test_columns_become_prompts_and_answers_by_name_or_template() -> None:
    films = EXAMPLES / "films.csv"
    templates = Columns(prompt_template="Describe {name}, {year}:", answer_template="{text}")
    assert asked(read(films, ReadingOptions(columns=templates))) == [
        ("Describe Metropolis, 1927:", "A city above, its workers below."),
        ("Describe Nosferatu, 1922:", "A shadow climbs the stairs."),
    ]
    assert asked(read(films, ReadingOptions(columns=Columns("Name", "YEAR"))))[0] == ("Metropolis", "1927")
    braces = Columns("name", answer_template="{{{year}}}")
    assert asked(read(films, ReadingOptions(columns=braces)))[0] == ("Metropolis", "{1927}")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.tsv", "a.txt", "a.parquet"])
def test_templates_go_over_the_columns_of_any_table(name: str, tmp_path: Path) -> None:
    rows = [{"name": "Metropolis", "year": 1927, "text": "A city."}, {"name": "M", "year": 1931, "text": "A whistle."}]
    path = tmp_path / name
    if name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif name in ("a.tsv", "a.txt"):
        path.write_text("name\tyear\ttext\n" + "".join("\t".join(map(str, row.values())) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows) if name == "a.json" else "".join(f"{json.dumps(row)}\n" for row in rows))
    columns = Columns(prompt_template="Describe {name}, {year}:", answer="text")
    assert asked(read(path, ReadingOptions(columns=columns))) == [
        ("Describe Metropolis, 1927:", "A city."),
        ("Describe M, 1931:", "A whistle."),
    ]


def test_text_becomes_pairs_by_a_stated_rule() -> None:
    by_heading = read(EXAMPLES / "notes.md", ReadingOptions(text_rule="heading"))
    assert asked(by_heading) == [("Rain", "It begins on the roof."), ("Snow", "It begins nowhere, and is there.")]
    by_sentence = read(EXAMPLES / "story.txt", ReadingOptions(text_rule="sentence"))
    assert [prompt for prompt, _ in asked(by_sentence)] == [
        "There was a house at the end of the street.",
        "One evening there was a light.",
    ]


def test_passages_are_cut_at_sentences(written: Written) -> None:
    text = "\n\n".join(" ".join(f"Sentence {k} of {n} is here." for k in range(30)) for n in range(4))
    texts = [answer or "" for _, answer in asked(written("a.txt", text, passage_length=200))]
    assert max(map(len, texts)) <= 200 and all(piece.endswith(".") for piece in texts)
    assert " ".join(texts).split() == text.split()


# Files whose form is mistaken elsewhere

HI = [("Hi", "Ho")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '[{"instruction": "Hi", "output": "Ho"}]'),  # Alpaca without input
        ("a.jsonl", '{"instruction": "Hi", "input": null, "output": "Ho"}'),
        ("a.jsonl", '{"Instruction": "Hi", "Response": "Ho"}'),
        ("a.json", '{"instruction": "Hi", "output": "Ho"}\n'),  # JSONL in .json
        ("a.jsonl", '[{"prompt": "Hi",\n "completion": "Ho"}]'),  # an array in .jsonl
        ("a.txt", '{"prompt": "Hi", "completion": "Ho"}\n'),
        ("a.csv", '{"prompt": "Hi", "completion": "Ho"}\n'),
        ("a.json", '[{"conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}]'),
        ("a.jsonl", '{"messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}'),
        ("a.jsonl", '{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "model", '
         '"content": "Ho"}]}'),
        ("a.jsonl", '{"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Ho"}]}'),
        ("a.csv", "question;answer\nHi;Ho\n"),
        ("a.csv", "nr\tfrage\tantwort\n1\tHi\tHo\n"),  # tabs in .csv
        ("a.tsv", "instruction\tinput\toutput\nHi\t\tHo\n"),
        ("a.txt", "prompt\tanswer\nHi\tHo\n"),
        ("a.txt", "Hi # Ho"),
        ("a.csv", '﻿"prompt","answer"\r\n"Hi","Ho"\r\n'),
        ("a.csv", 'messages\n"[{""role"": ""user"", ""content"": ""Hi""}, {""role"": ""assistant"", ""content"": ""Ho""}]"\n'),
        ("noending", '{"prompt": "Hi", "completion": "Ho"}\n'),
    ],
)  # fmt: skip
def test_what_is_often_mistaken_is_told(written: Written, name: str, content: str) -> None:
    corpus = written(name, content)
    assert (asked(corpus), corpus.counts().refused) == (HI, 0)


def test_quoted_cells_hold_commas_and_line_breaks(written: Written) -> None:
    corpus = written("a.csv", 'prompt,answer\n"Eins,\nzwei","Sag ""drei"""\n\nVier,Fünf\n')
    assert [(pair.line, pair.prompt, pair.answer) for pair in corpus.pairs()] == [
        (2, "Eins,\nzwei", 'Sag "drei"'),
        (5, "Vier", "Fünf"),
    ]


def test_a_weight_of_zero_is_context_only(written: Written) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "No", "weight": 0},
        {"role": "user", "content": "Hi again"},
        {"role": "user", "content": "please"},
        {"role": "assistant", "content": "Yes", "weight": 1},
    ]
    (pair,) = written("a.jsonl", json.dumps({"messages": messages})).pairs()
    assert pair == Pair("Hi again\n\nplease", "Yes", (Turn("user", "Hi"), Turn("assistant", "No")))


def test_alpaca_with_a_history(written: Written) -> None:
    record = {"instruction": "And you?", "output": "Well.", "system": "Brief.", "history": [["Hello!", "Hello."]]}
    (pair,) = written("a.json", json.dumps([record])).pairs()
    assert pair.context == (Turn("system", "Brief."), Turn("user", "Hello!"), Turn("assistant", "Hello."))


# Encodings

GERMAN = "prompt,answer\nWas heißt „süß“?,Wie Öl – nur schöner.\nÄpfel?,Größer.\n"


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8"),
        ("utf-16", "UTF-16"),
        ("utf-16-be", "UTF-16 without a byte order mark"),
        ("utf-16-le", "UTF-16 without a byte order mark"),
        ("cp1252", "Latin-1 (Windows-1252)"),
    ],
)
def test_encodings_are_told_apart(written: Written, encoding: str, name: str) -> None:
    corpus = written("a.csv", GERMAN.encode(encoding))
    assert asked(corpus) == [("Was heißt „süß“?", "Wie Öl – nur schöner."), ("Äpfel?", "Größer.")]
    assert corpus.encoding == name


def test_utf16_with_its_mark_in_big_endian(written: Written) -> None:
    assert len(asked(written("a.csv", b"\xfe\xff" + GERMAN.encode("utf-16-be")))) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GERMAN.encode("utf-32"), "UTF-32"),
        ("prompt\nПривет, как дела? Хорошо.\n".encode("cp1251"), "another script"),
        ("prompt\n日本語の文章です。\n".encode("shift_jis"), "line 2: neither UTF-8 nor UTF-16 nor Latin-1"),
        ("prompt\nfür Käse und Öl, größer\n".encode("mac-roman"), "Mac Roman"),
        ("prompt\nfür Käse und Öl\n".encode("cp437"), "neither UTF-8 nor UTF-16 nor Latin-1"),
        (b"a\x00b\x01\x02\x00\x00", "not a text file"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b"PK\x03\x04rest", "Office"),
        (b"%PDF-1.4", "PDF"),
    ],
)  # fmt: skip
def test_other_encodings_are_refused_by_name(written: Written, content: bytes, reason: str) -> None:
    with pytest.raises(CorpusError, match=reason):
        written("a.csv", content)


def test_an_encoding_may_be_named(written: Written) -> None:
    russian = "prompt,answer\nПривет?,Да.\n".encode("cp1251")
    assert asked(written("a.csv", russian, encoding="cp1251")) == [("Привет?", "Да.")]
    with pytest.raises(CorpusError, match="no encoding 'klingon'"):
        written("a.csv", russian, encoding="klingon")


def test_one_broken_line_costs_itself_only(written: Written) -> None:
    corpus = written(
        "a.csv", "prompt,answer\nKäse?,Ja, süß\n".replace("Ja, ", "").encode() + b"K\xe4se?,Nein\nBr\xc3\xb6t?,Ja\n"
    )
    (refusal,) = [entry for entry in corpus.entries() if not isinstance(entry, Pair)]
    assert refusal.line == 3 and "byte 0xe4" in refusal.reason
    assert asked(corpus) == [("Käse?", "süß"), ("Bröt?", "Ja")]


# Parts, folders, runs


def test_without_an_evaluation_part_the_training_part_evaluates(written: Written) -> None:
    corpus = written("a.txt", "a # b\n# a comment\nc # d\n")
    assert corpus.evaluates_on_training and list(corpus.evaluation()) == list(corpus.train())
    divided = written("a.txt", "a # b\n# now _EVAL_\nc # d\n")
    assert not divided.evaluates_on_training
    assert [pair.prompt for pair in divided.evaluation()] == ["c"] and [pair.prompt for pair in divided.train()] == [
        "a"
    ]


def test_a_share_is_held_out_the_same_at_every_reading(written: Written) -> None:
    rows = "".join(f"question {n}?,answer {k}\n" for n in range(200) for k in range(2))
    corpus = written("a.csv", "prompt,answer\n" + rows, hold_out=0.2, seed=1)
    held_out = [pair.prompt for pair in corpus.evaluation()]
    assert held_out == [pair.prompt for pair in corpus.evaluation()] and 40 < len(held_out) < 120
    assert not set(held_out) & {pair.prompt for pair in corpus.train()}, "a prompt is in one part only"
    assert corpus.counts().pairs == 400


def test_a_conversation_is_held_out_as_a_whole() -> None:
    corpus = read(EXAMPLES / "chat.jsonl", ReadingOptions(hold_out=0.5, seed=3))
    parts = [pair.part for pair in corpus.pairs()]
    assert parts[0] == parts[1]


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("About it.")
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "spells-test.txt").write_text("c # d\nno answer\ne # f\n")
    (tmp_path / "broken.json").write_text("nothing")
    corpus = read(tmp_path)
    assert [(pair.prompt, pair.part) for pair in corpus.pairs()] == [
        ("c", "evaluation"),
        ("e", "evaluation"),
        ("a", "train"),
    ]
    refusals = [entry for entry in corpus.entries() if not isinstance(entry, Pair)]
    assert [(Path(refusal.file).name, refusal.line) for refusal in refusals] == [
        ("broken.json", 0),
        ("spells-test.txt", 2),
    ]
    assert corpus.form == "instructions, completion"


def test_folders_below_are_read_too(tmp_path: Path) -> None:
    from wmkml.config import Settings

    contents = {
        "a.txt": "a # 1\n",
        "second/b.txt": "b # 2\n",
        "second/deep/c-test.txt": "c # 3\n",
        "test/d.txt": "d # 4\n",
        "test/train.txt": "e # 5\n",
        "latest/f.txt": "f # 6\n",
        ".git/x.txt": "x # 7\n",
        "second/notes.md": "# Not read\n\nbeside others",
    }
    for name, content in contents.items():
        (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    _, store = create_run(tmp_path, "my-run", "de", Settings(), "laboratory")
    store.add_pairs(
        [NewPair(source="echo", language="de", prompt="r", answer="8", kept=1, iteration=0, live=True, station="a")]
    )
    store.close()
    (tmp_path / "my-run" / "losses.jsonl").write_text('{"prompt": "y", "completion": "9"}\n')
    corpus = read(tmp_path)
    evaluation = {"c", "d"}
    assert [(pair.prompt, pair.part) for pair in corpus.pairs()] == [
        (name, "evaluation" if name in evaluation else "train") for name in "afrbcde"
    ]
    assert corpus.counts().refused == 0 and corpus.position.done == corpus.position.total
    (alone := tmp_path / "only").mkdir()
    (alone / "below").mkdir()
    (alone / "below" / "words.md").write_text("# Regen\n\nEr fällt.\n")
    assert read(alone).counts().pairs == 1
    assert [pair.part for pair in read(tmp_path / "second" / "deep" / "c-test.txt").pairs()] == ["train"]


def test_a_run_folder_is_a_corpus(tmp_path: Path) -> None:
    from wmkml.config import Settings

    folder, store = create_run(tmp_path, "a-run", "de", Settings(), "laboratory")
    pair = NewPair(
        source="visitor", language="de", prompt="Hallo?", answer="Ja.", kept=3, iteration=0, live=True, station="a"
    )
    store.add_pairs([pair])
    store.flush()
    for source in (folder, folder / "run.sqlite"):
        corpus = read(source)
        assert (corpus.form, list(corpus.pairs())) == ("run", [Pair("Hallo?", "Ja.", category="visitor")])
    store.close()


def test_tables_and_texts_as_programs_write_them(tmp_path: Path) -> None:
    (path := tmp_path / "filme.csv").write_text("titel;jahr;inhalt\nMetropolis;1927;Eine Stadt, oben hell.\n")
    with pytest.raises(CorpusError, match="no column is known as a prompt among titel, jahr, inhalt"):
        read(path)
    path.write_text("sep=;\nprompt;answer\nWas ist blau?;Der Himmel, meist.\n")
    assert [(pair.prompt, pair.answer) for pair in read(path).pairs()] == [("Was ist blau?", "Der Himmel, meist.")]
    for name in ("utf-8", "utf-16-le"):
        path.write_bytes("\ufeffprompt\nWas ist blau?\n".encode(name))
        assert [pair.prompt for pair in read(path, ReadingOptions(encoding=name)).pairs()] == ["Was ist blau?"]
    (lines := tmp_path / "fragen.txt").write_text("# meine Fragen\nWas ist blau?\nWas ist rot?\n")
    assert [pair.prompt for pair in read(lines).pairs()] == ["Was ist blau?", "Was ist rot?"]
    messages = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    (chat := tmp_path / "chat.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    assert [(pair.prompt, pair.context) for pair in read(chat).pairs()] == [("a", ())]
