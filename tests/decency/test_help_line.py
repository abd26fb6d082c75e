"""What a line of help answers, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmkml.decency.help_line import HelpPhrases, load_help_phrases
from wmkml.decency.word_lists import WordListError

PHRASES = load_help_phrases(Path("/nowhere"))


@pytest.mark.parametrize(
    "text",
    [
        "Ich will sterben",
        "ich will einfach nur noch STERBEN!",
        "Hallo. Manchmal möchte ich nicht mehr leben und dann wieder doch.",
        "Ich moechte nicht mehr leben",
        "Soll ich mich heute umbringen?",
        "ich bring mich um",
        "Ich habe oft Suizidgedanken.",
        "I want to die",
        "i dont want to live anymore",
        "I’m thinking about suicide",
        "should I kill myself?",
        "Ich lache viel.\nIch will tot sein",
    ],
)
def test_it_answers_who_writes_of_harming_themselves(text: str) -> None:
    assert PHRASES.recognised(text)


@pytest.mark.parametrize(
    "text",
    [
        "Ich sterbe vor Lachen",
        "Ich könnte sterben vor Neugier, ich will vor Lachen sterben",
        "Die Sprache stirbt. Wird sie sterben? Muss jede Sprache sterben?",
        "Ich will nicht sterben",
        "Willst du sterben?",
        "Wer hat sich umgebracht?",
        "Die Maschine will mich umbringen. Willst du mir etwas antun?",
        "Kannst du mich umarmen? Ich bringe mich um die Ecke in Sicherheit.",
        "Kannst du mich umarmen? Bring mich um die Ecke zum Bahnhof.",
        "I'm laughing so hard I want to die",
        "I don't want to die",
        "Why do languages die? I want to diet, and to kill time.",
        "",
    ],
)
def test_it_leaves_others_alone(text: str) -> None:
    assert not PHRASES.recognised(text)


def test_words_between_and_exceptions_hold_within_a_sentence() -> None:
    phrases = HelpPhrases(["ich will … weg"], ["in urlaub"])
    assert phrases.recognised("Ich will nur noch sofort weg")
    assert not phrases.recognised("Ich will nur noch ganz sofort weg")
    assert not phrases.recognised("Ich will. Alle sind weg")
    assert not phrases.recognised("Ich will weg, in Urlaub")
    assert phrases.recognised("Ich will weg. Sie ist in Urlaub.")
    assert not HelpPhrases([], []).recognised("Ich will sterben")


def test_an_installation_has_its_own_phrases(tmp_path: Path) -> None:
    (tmp_path / "help_de.yaml").write_text("phrases: [alles ist aus]\n")
    (tmp_path / "help_en.yaml").write_text("")
    phrases = load_help_phrases(tmp_path)
    assert phrases.recognised("Alles ist aus!") and not phrases.recognised("Ich will sterben")
    (tmp_path / "help_de.yaml").write_text("categories: {a: [b]}\n")
    with pytest.raises(WordListError, match="'categories' is no key"):
        load_help_phrases(tmp_path)
