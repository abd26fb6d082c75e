"""Writing a corpus in any form: what is written is read as the same pairs, and what a form cannot hold is left out and said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wmkml.corpora import CorpusError, Pair, Part, ReadingOptions, Turn, read
from wmkml.corpora.writing import FORM_ENDINGS, write_corpora

KINDS = [(form, ending) for form, endings in FORM_ENDINGS.items() for ending in endings]

ANSWERED = [
    Pair("Was ist Öl?", "Etwas „Glattes“ – 100 %."),
    Pair('Say "a, b"; then\ttab', "- one\n- two\n\n  indented", part="evaluation"),
    Pair("# 1?", "A # in the answer"),
    Pair("Plain", "😀 \\n is no line break"),
]
TALKED = [
    Pair("Hello!", "Hello.", (Turn("system", "Brief."),)),
    Pair("And you?", "Well.", (Turn("system", "Brief."), Turn("user", "Hello!"), Turn("assistant", "Hello."))),
    Pair("Late", "Alone", (Turn("user", "Before"), Turn("assistant", "Untaught")), part="evaluation"),
]
CONTENTS = {
    "prompts": [Pair("Was ist Öl?", None), Pair("Wer, wenn nicht ich?", None), Pair('Sag "ja".', None)],
    "text": [Pair("", "A first passage of some length, with a\nline break."), Pair("", "Another one, long enough.")],
    "chat": ANSWERED + TALKED,
    "sharegpt": ANSWERED + TALKED,
    "instructions": [Pair("a # b", "c"), Pair("„d“", "e, f"), Pair("g", "h", part="evaluation")],
    "dolly": [*ANSWERED, Pair("Sort me", "Here", category="closed_qa")],
}


def source_of(pairs: list[Pair], folder: Path) -> Path:
    """A corpus that holds exactly these pairs."""
    path = folder / "source.jsonl"
    with path.open("w") as file:
        for pair in pairs:
            if pair.is_passage:
                record: dict[str, object] = {"text": pair.answer}
            elif pair.answer is None:
                record = {"prompt": pair.prompt}
            elif pair.category:
                record = {"instruction": pair.prompt, "response": pair.answer, "category": pair.category}
            else:
                turns = [*pair.context, Turn("user", pair.prompt), Turn("assistant", pair.answer)]
                taught = len(turns) - 1
                record = {
                    "messages": [
                        {"role": turn.role, "content": turn.text, "weight": int(number == taught)}
                        for number, turn in enumerate(turns)
                    ]
                }
            file.write(json.dumps(record | {"split": pair.part}) + "\n")
    assert list(read(path).pairs()) == pairs
    return path


@pytest.mark.parametrize(("form", "ending"), KINDS)
def test_what_is_written_is_read_as_the_same_pairs(form: str, ending: str, tmp_path: Path) -> None:
    pairs = CONTENTS.get(form, ANSWERED)
    corpus = read(source_of(pairs, tmp_path))
    written = write_corpora([corpus], path := tmp_path / f"written{ending}", form)
    assert (written.pairs, written.left_out) == (len(pairs), [])
    # A passage is at most as long as the longest here, so that two of them stay two.
    options = ReadingOptions(format="" if ending in (".parquet", ".json", ".jsonl") else form, passage_length=50)
    again = read(path, options)
    assert [entry for entry in again.entries() if not isinstance(entry, Pair)] == []
    assert sorted(again.pairs(), key=repr) == sorted(pairs, key=repr)
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "source.jsonl"]), "nothing else is left"


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\r\t"), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["train", "evaluation"])), max_size=6),
    kind=st.sampled_from([kind for kind in KINDS if kind[0] not in ("prompts", "text", "instructions")]),
)
def test_any_words_survive(tmp_path: Path, pairs: list[tuple[str, str, Part]], kind: tuple[str, str]) -> None:
    form, ending = kind
    source = tmp_path / "source.jsonl"
    source.write_text("".join(json.dumps({"prompt": p, "completion": a, "split": part}) + "\n" for p, a, part in pairs))
    corpus = read(source)
    known = list(corpus.pairs())
    written = write_corpora([corpus], path := tmp_path / f"written{ending}", form)
    assert written.left_out == [] and list(read(path).pairs()) == known


def test_successive_answers_become_one_conversation(tmp_path: Path) -> None:
    corpus = read(source_of(TALKED, tmp_path))
    write_corpora([corpus], path := tmp_path / "chat.jsonl", "chat")
    first, second = (json.loads(line)["messages"] for line in path.read_text().splitlines())
    assert len(first) == 5 and not any("weight" in message for message in first)
    assert [message.get("weight") for message in second] == [None, 0, None, None]


def test_what_a_form_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    corpus = read(source_of([*TALKED, *ANSWERED, Pair("", "A passage."), Pair("A prompt", None)], tmp_path))
    written = write_corpora([corpus], path := tmp_path / "lines.txt", "instructions")
    assert (written.pairs, written.left_out_count) == (2, 7)
    reasons = {refusal.line: refusal.reason for refusal in written.left_out}
    assert "context" in reasons[1] and "line break" in reasons[5] and "#" in reasons[6]
    assert "passage" in reasons[8] and "without an answer" in reasons[9]
    assert [pair.prompt for pair in read(path).pairs()] == ["Was ist Öl?", "Plain"]


def test_a_form_goes_with_its_endings(tmp_path: Path) -> None:
    corpus = read(source_of(ANSWERED, tmp_path))
    with pytest.raises(CorpusError, match=r"instructions is written to files with the ending \.txt"):
        write_corpora([corpus], tmp_path / "a.csv", "instructions")
    with pytest.raises(CorpusError, match="no form 'xml'"):
        write_corpora([corpus], tmp_path / "a.csv", "xml")


def test_a_file_that_is_there_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (target := tmp_path / "a.jsonl").write_text("before")
    corpus = read(source_of(ANSWERED, tmp_path))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wmkml.corpora.writing._write_line", fail)
    with pytest.raises(OSError, match="No space"):
        write_corpora([corpus], target, "completion")
    assert target.read_text() == "before" and len(list(tmp_path.iterdir())) == 2
