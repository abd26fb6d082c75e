"""Answers are cut at the end of a sentence as in the original, except where the original cut wrongly."""

from __future__ import annotations

import pytest

from wmkml.dialogue.answer_end import kept_length

LONG = "Die Katze schläft auf dem Dach und träumt von einem Fisch aus Glas. "


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("kein Ende", "kein Ende"),
        ("Ein Satz. Und noch ein", "Ein Satz."),
        ("Wirklich? Ja! Vielleicht… oder", "Wirklich? Ja! Vielleicht…"),
        ("z.B. 3.5 Liter", "z.B. 3."),
        (LONG + "Erste Zeile ohne Punkt\nzweite abgebr", LONG + "Erste Zeile ohne Punkt"),
        # A newline further back than 50 characters is no end; the full stop is.
        ("Oben\n" + LONG + "und dann", "Oben\n" + LONG.rstrip()),
        # The original cuts these wrongly: shorter than 50 characters, with a newline.
        ("Ein Satz\nzweite Zei", "Ein Satz"),
        ("\nHallo du", "\nHallo du"),
        ("\n\nHallo. Du", "\n\nHallo."),
        ("Fertig.\n", "Fertig."),
    ],
)
def test_answer_is_cut_at_the_end_of_a_sentence(text: str, kept: str) -> None:
    assert text[: kept_length(text)] == kept
