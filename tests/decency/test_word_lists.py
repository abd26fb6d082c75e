"""The word lists: those that ship, those of an installation, and the phrases that a line of help answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmkml.config import load_settings
from wmkml.decency.safeguards import load_safeguards
from wmkml.decency.word_lists import SHIPPED_WORDS, WordListError, inflections, load_word_filter

NOWHERE = Path("/nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "Die Vögel fliegen durch dick und dünn in die Mongolei.",
        "Moose wachsen im Moor, wer spaßt, der transportiert Spannung.",
        "Ein Wankelmotor, ein Titel, eine Mutter, ein Nussknacker, Assistenten und Analysen.",
        "Spicy food, a cocktail, a titter, the country, Scunthorpe, who're you, class and grass.",
        "The moose passed; he assessed the situation on the A55 for 455 pounds.",
    ],
)
def test_the_shipped_lists_leave_ordinary_words_alone(text: str) -> None:
    assert load_word_filter(NOWHERE).apply(text) == text


def test_the_shipped_lists_find_their_entries_with_endings() -> None:
    words = load_word_filter(NOWHERE)
    for text in ("Du Arschloch!", "4rschl0ch", "Miststücke", "Kuemmeltuerken", "an asshole", "b1tches", "sluttiest"):
        assert "…" in words.apply(text), text


def test_prompt_sets_and_texts_that_ship_hold_no_entry() -> None:
    words = load_word_filter(NOWHERE)
    root = Path(__file__).parent.parent.parent
    files = [*root.glob("Datasets/*/*.csv"), *root.glob("stage/*.yaml")]
    assert len(files) > 6
    assert [path.name for path in files if words.matches(path.read_text(encoding="utf-8"))] == []


def test_a_file_of_the_installation_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "de.yaml").write_text("endings: [n]\ncategories: {empty: [], insults: [quappe, '=quark']}\n")
    (tmp_path / "nds.yaml").write_text("categories:\n  insults: [döösbaddel]\n")
    words = load_word_filter(tmp_path)
    assert words.apply("Quappen, Quark, Quarken, Doeoesbaddel") == "…, …, Quarken, …"
    assert not words.matches("Arschloch") and words.matches("asshole")
    for path in SHIPPED_WORDS.glob("[!h]*.yaml"):
        (tmp_path / path.name).write_text("")
    assert not load_word_filter(tmp_path).matches("asshole")


def test_endings_come_after_an_entry_or_in_the_place_of_its_e() -> None:
    assert inflections("whore", ["s", "ing"]) == ["whore", "whores", "whoreing", "whoring"]
    assert inflections("=tits", ["s"]) == ["tits"]
    assert inflections("fuck*", ["s"]) == ["fuck*"]
    assert inflections("geh weg", ["s"]) == ["geh weg"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("categories: {insults: [no, yes]}", "categories.insults: a list of words"),
        ("categories: [quappe]", "categories: names with lists"),
        ("words: [quappe]", "'words' is no key"),
        ("categories: {insults: ['*']}", "two letters"),
        ("- quappe", "holds no keys"),
        ("a: [", "line 1: not YAML"),
    ],
)
def test_a_list_that_cannot_be_used_is_named_with_its_key(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "de.yaml").write_text(content)
    with pytest.raises(WordListError, match=f"de.yaml.*{complaint}".replace("[", r"\[")):
        load_word_filter(tmp_path)


def test_each_place_is_switched_by_itself_and_all_are_off_at_first() -> None:
    safeguards = load_safeguards(load_settings(None), NOWHERE)
    assert not (safeguards.visitor or safeguards.stage or safeguards.card or safeguards.training)
    assert safeguards.may_train("Arschloch", "Arschloch")
    for place in ("visitor", "stage", "card", "training"):
        safeguards = load_safeguards(load_settings(None, overrides={f"decency.{place}": True}), NOWHERE)
        on = {name for name in ("visitor", "stage", "card", "training") if getattr(safeguards, name)}
        assert on == {place}
        assert safeguards.may_train("ja", "Arschloch") == (place != "training")
        assert bool(safeguards.events) == (place in ("visitor", "stage"))
