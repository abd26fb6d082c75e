"""`python -m wmkml poetry`: what each transformation does to ids, that a seed repeats it, and that every step is shown."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dialogue.tokenizers_of_kinds import LLAMA, sentencepiece
from wmkml.__main__ import main
from wmkml.config.paths import PROJECT, SHIPPED_MODEL
from wmkml.generation.sources import find_source
from wmkml.generation.speaker import load_speakers
from wmkml.laboratory.poetry.page import poetry_page
from wmkml.laboratory.poetry.poems import Poem, in_lines, read_poems
from wmkml.laboratory.poetry.steps import make_token_poems, to_frame
from wmkml.laboratory.poetry.transformations import NEIGHBOURS, parse_transformation, written_as
from wmkml.laboratory.poetry.vocabularies import Vocabulary, load_vocabulary, train_vocabulary

POEMS = (Poem("rain", ("Der Regen fällt,", "alles wird still,", "und naß ist das Öl.")), Poem("sea", ("Das Meer.",)))
STORY = PROJECT / "examples" / "corpora" / "story.txt"


@pytest.fixture(scope="module")
def understudy() -> Vocabulary:
    (speaker,) = load_speakers([find_source("understudy")])
    return Vocabulary("understudy", speaker.tokenizer, speaker.network.get_input_embeddings().weight)


@pytest.fixture(scope="module")
def trained() -> Vocabulary:
    return train_vocabulary([STORY], 600)


def transformed(name: str, ids: list[int], vocabulary: Vocabulary, *others: Vocabulary, seed: int = 0) -> list[int]:
    named = {other.name: other for other in others}
    return parse_transformation(name, vocabulary, named).apply(ids, random.Random(seed))


def test_ids_are_moved(understudy: Vocabulary) -> None:
    ids = understudy.ids("Der Regen fällt, alles wird still")
    assert len(ids) > 6 and understudy.text(ids) == "Der Regen fällt, alles wird still"
    assert transformed("shift:3", transformed("shift:-3", ids, understudy), understudy) == ids
    assert transformed("shift", ids, understudy) == transformed("shift:1", ids, understudy) != ids
    assert transformed(f"shift:{len(understudy)}", ids, understudy) == ids, "round and round"
    assert transformed("reverse", ids, understudy) == ids[::-1]
    assert transformed("sort", ids, understudy) == sorted(ids) != ids
    assert transformed("swap", ids, understudy)[:4] == [ids[1], ids[0], ids[3], ids[2]]
    swapped = transformed("swap:3", ids, understudy)
    assert sorted(swapped) == sorted(ids) and swapped != ids and swapped == transformed("swap:3", ids, understudy)
    special = set(understudy.tokenizer.all_special_ids)
    assert not special & {token for by in range(50) for token in transformed(f"shift:{by}", ids, understudy)}


def test_a_walk_leads_to_near_tokens(understudy: Vocabulary) -> None:
    ids = understudy.ids("Die Katze schläft")
    assert understudy.embeddings is not None
    matrix = torch.nn.functional.normalize(understudy.embeddings.float(), dim=-1)
    places = understudy.ordinary
    for token, after in zip(ids, transformed("walk", ids, understudy, seed=5), strict=True):
        likeness = (matrix[places] @ matrix[token]).tolist()
        ranked = sorted((place for place in places if place != token), key=lambda place: -likeness[places.index(place)])
        assert after in ranked[:NEIGHBOURS]
    walks = {tuple(transformed("walk:6", ids, understudy, seed=seed)) for seed in (1, 1, 2, 3)}
    assert len(walks) == 3, "chance follows the seed"


def test_vocabularies_are_mapped_and_translated(understudy: Vocabulary, trained: Vocabulary) -> None:
    ids = understudy.ids("Grüße, das Öl")
    translated = [other for token in ids for other in written_as(understudy, token, trained)]
    assert trained.text(translated) == "Grüße, das Öl", "a translation says the same"
    mapped = transformed("map:trained", ids, understudy, trained)
    assert len(mapped) == len(translated) and understudy.text(mapped) != "Grüße, das Öl"
    # Reading these places with the other vocabulary gives the words back.
    assert [trained.id_at(understudy.places[token]) for token in mapped] == translated


def test_a_tokenizer_with_blanks_of_its_own_is_a_vocabulary_too(understudy: Vocabulary) -> None:
    llama = Vocabulary("llama", sentencepiece(LLAMA, [], prepend="normalizer"))
    ids = understudy.ids("Eine Sprache ist ein Haus")
    translated = [other for token in ids for other in written_as(understudy, token, llama)]
    assert llama.text(translated).split() == ["Eine", "Sprache", "ist", "ein", "Haus"]


def test_a_trained_tokenizer_has_the_words_it_was_trained_on(tmp_path: Path) -> None:
    (path := tmp_path / "words.txt").write_text("Quirlfock quirlt. " * 200, encoding="utf-8")
    vocabulary = train_vocabulary([path], 300)
    assert 256 < len(vocabulary) <= 300
    assert len(vocabulary.ids("Quirlfock quirlt.")) < 6 < len(vocabulary.ids("Hexenhaus"))
    assert vocabulary.text(vocabulary.ids("naß 🐱\nÖl")) == "naß 🐱\nÖl", "any text can be written"


def test_every_step_is_kept_in_order(understudy: Vocabulary, trained: Vocabulary) -> None:
    changes = [parse_transformation(name, understudy, {}) for name in ("reverse", "shift:2")]
    made = make_token_poems(POEMS, understudy, changes, read_with=trained, translated=understudy, seed=3)
    labels = [step.label for step in made[0].steps]
    assert labels == ["tokens", "reverse", "shift:2", "read with trained", "translated into understudy"]
    first = made[0].steps[0]
    assert first.text == "\n".join(POEMS[0].lines) and len(first.lines) == 3
    for line in first.lines:
        assert "".join(line.tokens) == line.text or "�" in "".join(line.tokens)
    frame = to_frame(made)
    assert frame["poem"].tolist() == [1] * 5 + [2] * 5 and frame["text"][0] == first.text
    (whole,) = make_token_poems(POEMS[:1], understudy, changes[:1], whole=True)
    assert len(whole.steps[0].lines) == 1 and whole.steps[1].lines[0].ids == whole.steps[0].lines[0].ids[::-1]
    page = poetry_page(made, "<note>", "de")
    assert page.count("<article>") == 2 and page.count("<tr>") == 10 and "&lt;note&gt;" in page
    assert all(f"<small>{token}</small>" in page for token in first.lines[0].ids)


def test_poems_are_read_as_they_are_written(tmp_path: Path) -> None:
    (path := tmp_path / "poems.txt").write_bytes("eins,\nzwei\n\n  \ndrei, vier. fünf\n".encode("latin-1"))
    assert [poem.lines for poem in read_poems(path)] == [("eins,", "zwei"), ("drei,", "vier.", "fünf")]
    path.write_text("a\nb\nc\nd\n")
    assert [poem.lines for poem in read_poems(path)] == [("a",), ("b",), ("c",), ("d",)]
    assert in_lines("One. Two, three") == ("One.", "Two,", "three")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main(["poetry", *map(str, arguments), "--json", "-"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.mark.slow
def test_the_model_writes_haiku_and_a_seed_repeats_all(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page, table = tmp_path / "p.html", tmp_path / "p.csv"
    options = ["--count", "3", "--transform", "walk:2", "swap:2", "--language", "en", "--temperature", "1.2"]
    first = printed(capsys, *options, "--seed", "7", "--html", page, "--csv", table)
    assert first == printed(capsys, *options, "--seed", "7") != printed(capsys, *options, "--seed", "8")
    assert [poem["title"] for poem in first["poems"]] == ["the moon", "the cat", "the rain"]
    assert all(len(poem["steps"]) == 3 and len(poem["text"]) > 10 for poem in first["poems"])
    assert "moon" in first["poems"][0]["text"].lower()
    assert page.read_text(encoding="utf-8").count("<article>") == 3
    assert len(list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))) == 9


def test_a_trained_tokenizer_writes_and_reads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (path := tmp_path / "poems.txt").write_text("Das Meer.\n\nDer Mond.\n")
    training: list[str | Path] = ["--file", path, "--train-tokenizer", STORY, "--vocabulary", "500"]
    own = printed(capsys, *training, "--translate", "understudy")
    assert [step["vocabulary"] for step in own["poems"][0]["steps"]] == ["trained", "understudy"]
    read = printed(
        capsys, *training, "--tokenizer", "understudy", "--read-with", "trained", "--transform", "map:trained"
    )
    assert [step["vocabulary"] for step in read["poems"][0]["steps"]] == ["understudy", "understudy", "trained"]
    assert read["poems"][0]["steps"][-1]["text"] == "Das Meer."
    assert main(["poetry", *map(str, training)]) == 0
    assert capsys.readouterr().out == "1. 1\n\nDas Meer.\n\n2. 2\n\nDer Mond.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model nowhere", "There is no model nowhere"),
        ("--count 0", "--count: 0 is not allowed"),
        ("--file nowhere.txt", "nowhere.txt cannot be read"),
        ("--file empty.txt", "empty.txt is empty"),
        ("--file poem.txt --transform dance", "dance is not known; there are shift:N"),
        ("--file poem.txt --transform shift:far", "far is no whole number"),
        ("--file poem.txt --transform walk:0", "allowed: 1 to"),
        ("--file poem.txt --read-with trained", "give --train-tokenizer FILES"),
        ("--file poem.txt --transform map:", "there is no vocabulary without a name"),
        ("--file poem.txt --train-tokenizer poem.txt --transform walk", "has no embeddings"),
        ("--file poem.txt --train-tokenizer poem.txt --vocabulary 9", "allowed: at least 257"),
        ("--file poem.txt --train-tokenizer nowhere.txt", "There is no file or folder nowhere.txt"),
        ("--file poem.txt --html nowhere/a.html", "cannot be written"),
        ("--file poem.txt --csv nowhere/a.csv", "nowhere/a.csv cannot be written: there is no folder nowhere"),
        ("--file poem.txt --json nowhere/a.json", "nowhere/a.json cannot be written: there is no folder nowhere"),
    ],
)
def test_what_cannot_be_made_is_a_sentence(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "poem.txt").write_text("Das Meer.\nIst nass.\n")
    assert main(["poetry", *shlex.split(arguments)]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_is_a_vocabulary_without_its_weights() -> None:
    assert load_vocabulary(SHIPPED_MODEL, "a").embeddings is None


@pytest.mark.slow
def test_commands_of_the_guide_and_the_help_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import wmkml.cli.poetry as command

    monkeypatch.chdir(PROJECT)
    guide = (PROJECT / "docs" / "laboratory.md").read_text(encoding="utf-8")
    lines = re.findall(r"^env/bin/python -m wmkml (poetry .*|loss .*)$", guide, re.MULTILINE)
    assert len(lines) >= 4
    example = re.search(r"^    python -m wmkml (poetry .*)$", command.__doc__ or "", re.MULTILINE)
    assert example
    for line in (*lines, example[1]):
        assert main(shlex.split(line.replace("/tmp/", f"{tmp_path}/"))) == 0, line
        assert capsys.readouterr().out.strip()
