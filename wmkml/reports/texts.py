"""The report's words in German and English, and numbers and times as each language writes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from wmkml.measures.measure import Measure

ReportLanguage = Literal["de", "en"]

REPORT_LANGUAGES: tuple[ReportLanguage, ...] = ("de", "en")

TEXTS: Mapping[ReportLanguage, Mapping[str, str]] = {
    "de": {
        "report": "Bericht über einen Lauf",
        "story": "Was geschah",
        "losses": "Verlust",
        "losses_hint": "Wie fremd ihr war, was sie lernte, bei jedem Schritt jeder Runde. Senkrecht: wo eine Runde beginnt.",
        "losses_label": "Verlust bei jedem Schritt, von {first} auf {last}.",
        "rate": "Lernrate",
        "rate_label": "Lernrate jeder Runde, von {first} auf {last}.",
        "across": "Über die Runden: Verlust am Anfang (oben) und am Ende jeder Runde.",
        "across_label": "Verlust am Anfang jeder Runde, von {first} auf {last}, und am Ende, von {first_end} auf {last_end}.",
        "rounds": "Runden",
        "round": "Runde",
        "status": "Ausgang",
        "accepted": "antwortete",
        "skipped": "übersprungen",
        "unfinished": "nicht fertig",
        "samples": "Beispiele",
        "steps": "Schritte",
        "tokens": "Tokens",
        "train_seconds": "Training, s",
        "loss_first": "Verlust zuerst",
        "loss_last": "zuletzt",
        "measures": "Maße",
        "measures_hint": "Jedes Maß über die Iterationen; −1 ist das unberührte Modell. Was ein Wert bedeutet, steht darunter.",
        "measure_label": "{title}: von {first} bei Iteration {from} auf {last} bei Iteration {to}.",
        "layers_title": "{title}, Schicht für Schicht",
        "layers": "Nach oben die Schichten des Modells, nach rechts die Iterationen; das vollste Feld ist {most}, ein leerer Rahmen ungemessen.",
        "values": "Alle Werte",
        "measure": "Maß",
        "iteration": "Iteration",
        "answers": "Antworten",
        "persistent": "Immer dieselbe Frage",
        "panel": "Obduktion",
        "panel_hint": "Was jede Iteration auf dieselbe Frage gesagt hat.",
        "more": "Weitere Fragen",
        "no_answer": "(nichts)",
        "settings": "Einstellungen",
        "settings_hint": "Die, die die Sprache formen und vom Üblichen abweichen.",
        "setting": "Einstellung",
        "value": "Wert",
        "default_settings": "Alle Einstellungen, die die Sprache formen, hatten ihre üblichen Werte.",
        "no_losses": "Es wurde kein Schritt gelernt.",
        "no_measures": "Es wurde nichts gemessen.",
        "only_numbers": "Dieser Bericht besteht aus Zahlen. Kein Wort der Besucherinnen und Besucher und keine Antwort steht darin.",
        "has_words": "Dieser Lauf wird aufbewahrt: der Bericht enthält Antworten der Sprache, die Worte von Menschen wiederholen können.",
        "laboratory": "Ein Lauf des Labors: niemand außer der Sprache hat gesprochen; ihre Antworten stehen im Bericht.",
        "files": "Dieselben Zahlen",
        "archive": "Archiv der Läufe",
        "archive_hint": "Jeder Lauf als seine Kurven, der neueste zuerst.",
        "no_reports": "Noch kein Lauf hat einen Bericht.",
        "open_report": "Bericht",
        "drawn_soon": "Der Bericht wird noch gezeichnet.",
        "no_curves": "Nicht lang genug für eine Kurve.",
        "desk": "Zum Pult",
        "skip": "Zum Inhalt",
    },
    "en": {
        "report": "Report of a run",
        "story": "What happened",
        "losses": "Loss",
        "losses_hint": "How strange to it was what it learned, at every step of every round. Upright: where a round begins.",
        "losses_label": "Loss at every step, from {first} to {last}.",
        "rate": "Learning rate",
        "rate_label": "Learning rate of each round, from {first} to {last}.",
        "across": "Across the rounds: loss at the beginning (above) and at the end of each round.",
        "across_label": "Loss at the beginning of each round, from {first} to {last}, and at its end, from {first_end} to {last_end}.",
        "rounds": "Rounds",
        "round": "Round",
        "status": "Outcome",
        "accepted": "answered",
        "skipped": "skipped",
        "unfinished": "not finished",
        "samples": "Samples",
        "steps": "Steps",
        "tokens": "Tokens",
        "train_seconds": "Training, s",
        "loss_first": "Loss at first",
        "loss_last": "at last",
        "measures": "Measures",
        "measures_hint": "Every measure over the iterations; −1 is the untouched model. What a value means stands below it.",
        "measure_label": "{title}: from {first} at iteration {from} to {last} at iteration {to}.",
        "layers_title": "{title}, layer by layer",
        "layers": "Upwards the model’s layers, to the right the iterations; the fullest cell is {most}, an empty frame was not measured.",
        "values": "All values",
        "measure": "Measure",
        "iteration": "Iteration",
        "answers": "Answers",
        "persistent": "Always the same question",
        "panel": "Autopsy",
        "panel_hint": "What each iteration said to the same question.",
        "more": "More questions",
        "no_answer": "(nothing)",
        "settings": "Settings",
        "settings_hint": "Those that shape the language and differ from their defaults.",
        "setting": "Setting",
        "value": "Value",
        "default_settings": "All settings that shape the language had their defaults.",
        "no_losses": "No step was learned.",
        "no_measures": "Nothing was measured.",
        "only_numbers": "This report is made of numbers. No visitor’s word and no answer is in it.",
        "has_words": "This run is kept: the report holds answers of the language, which may repeat what people said.",
        "laboratory": "A run of the laboratory: nobody but the language has spoken; its answers are in the report.",
        "files": "The same numbers",
        "archive": "Archive of the runs",
        "archive_hint": "Every run as its curves, the newest first.",
        "no_reports": "No run has a report yet.",
        "open_report": "Report",
        "drawn_soon": "The report is still being drawn.",
        "no_curves": "Not long enough for a curve.",
        "desk": "To the desk",
        "skip": "To the content",
    },
}

LANGUAGE_NAMES: Mapping[ReportLanguage, Mapping[str, str]] = {
    "de": {"de": "Deutsch", "en": "Englisch"},
    "en": {"de": "German", "en": "English"},
}

MONTHS: Mapping[ReportLanguage, str] = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "en": "January February March April May June July August September October November December",
}


def report_language(language: str) -> ReportLanguage:
    """The language of a report about a run in this language; English where there are no words in it."""
    return "de" if language == "de" else "en"


def language_name(language: ReportLanguage, of: str) -> str:
    """The name of a language; its key where there is none."""
    return LANGUAGE_NAMES[language].get(of, of)


def number_text(language: ReportLanguage, value: float) -> str:
    """A number with three significant digits, large ones without decimals."""
    if value == 0:
        return "0"
    if abs(value) >= 1e7 or abs(value) < 1e-4:
        text = f"{value:.1e}"
    elif abs(value) >= 100:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}"
    return _localized(language, text)


def value_text(language: ReportLanguage, measure: Measure, value: float) -> str:
    """A measure's value: a share in per cent, anything else as a number."""
    if not measure.is_share:
        return number_text(language, value)
    digits = 0 if value in (0.0, 1.0) or abs(value) >= 0.1 else 1
    return _localized(language, f"{100 * value:.{digits}f} %")


def date_text(language: ReportLanguage, seconds: float) -> str:
    """Day and time by the machine's clock; `seconds` since 1970."""
    at = time.localtime(seconds)
    month = MONTHS[language].split()[at.tm_mon - 1]
    clock = f"{at.tm_hour}:{at.tm_min:02}"
    return (
        f"{at.tm_mday}. {month} {at.tm_year}, {clock}"
        if language == "de"
        else f"{at.tm_mday} {month} {at.tm_year}, {clock}"
    )


def duration_text(language: ReportLanguage, seconds: float) -> str:
    """A duration in words, to the minute; below two minutes to the second."""
    if seconds < 120:
        unit = ("Sekunden", "seconds") if round(seconds) != 1 else ("Sekunde", "second")
        return f"{seconds:.0f} {unit[language == 'en']}"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} {('Minuten', 'minutes')[language == 'en']}"
    return f"{minutes // 60} h {minutes % 60:02} min"


def count_text(number: int, singular: str, plural: str) -> str:
    """A number with its noun."""
    return f"{number:,} {singular if number == 1 else plural}".replace(",", " ")


def iteration_text(iteration: int) -> str:
    """An iteration's number, with a real minus sign."""
    return f"−{-iteration}" if iteration < 0 else str(iteration)


def _localized(language: ReportLanguage, text: str) -> str:
    if language == "de":
        text = text.translate(str.maketrans(",.", ".,"))
    return text.replace("-", "−")
