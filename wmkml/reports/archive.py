"""The archive: every run that has a report, as a few of its curves, the newest first; one page of HTML without scripts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from wmkml.reports.charts import sparkline
from wmkml.reports.curves import archived_curves
from wmkml.reports.folder import PAGE_FILE, RecordDamagedError, files_of, read_record, report_names
from wmkml.reports.record import RunRecord
from wmkml.reports.shell import TITLE, page
from wmkml.reports.story import ends_text
from wmkml.reports.texts import (
    TEXTS,
    ReportLanguage,
    count_text,
    date_text,
    duration_text,
    language_name,
)

MIN_POINTS = 2
"""A curve has at least so many points."""


def archive_page(reports: Path, language: ReportLanguage) -> str:
    """The page; its links lead from the desk's address to the files of each report."""
    texts = TEXTS[language]
    records = dict(_records(reports))
    entries = [_entry(reports / name, record, language) for name, record in records.items()]
    body = [f'<div class="runs">{chr(10).join(entries)}</div>'] if entries else [f"<p>{texts['no_reports']}</p>"]
    other = {"de": ("en", "English"), "en": ("de", "Deutsch")}[language]
    head = (
        f'<nav aria-label="{TITLE}"><ul class="plain"><li><a href="../desk">{texts["desk"]}</a></li>'
        f'<li><a href="archive?language={other[0]}" lang="{other[0]}" hreflang="{other[0]}">{other[1]}</a></li></ul></nav>'
        f'<p class="over">{TITLE}</p><h1>{texts["archive"]}</h1><p class="soft">{texts["archive_hint"]}</p>'
    )
    return page(language, texts["archive"], head, body, "")


def _records(reports: Path) -> Sequence[tuple[str, RunRecord]]:
    records = []
    for name in report_names(reports):
        try:
            records.append((name, read_record(reports / name)))
        except (FileNotFoundError, RecordDamagedError):
            continue  # deleted just now, or damaged: the others are shown
    return records


def _entry(folder: Path, record: RunRecord, language: ReportLanguage) -> str:
    texts, key = TEXTS[language], html.escape(folder.name)
    rounds = count_text(len(record.accepted()), *_round_words(language))
    about = ", ".join(
        (language_name(language, record.language), record.model, duration_text(language, record.seconds), rounds)
    )
    if PAGE_FILE in files_of(folder):
        link = (
            f'<a href="reports/{key}/{PAGE_FILE}" aria-label="{texts["open_report"]}: {key}">{texts["open_report"]}</a>'
        )
    else:
        link = texts["drawn_soon"]
    return (
        f'<article aria-labelledby="run-{key}"><h2 id="run-{key}">{html.escape(date_text(language, record.started_at))}</h2>'
        f'<p class="soft small">{html.escape(about)} · {link}</p>{_sparks(record, language)}</article>'
    )


def _round_words(language: ReportLanguage) -> tuple[str, str]:
    return ("Runde", "Runden") if language == "de" else ("round", "rounds")


def _sparks(record: RunRecord, language: ReportLanguage) -> str:
    texts: Mapping[str, str] = TEXTS[language]
    figures = []
    for curve in archived_curves(record):
        if len(curve.points) < MIN_POINTS:
            continue
        title = curve.measure.words(language).title
        ends = ends_text(curve, language)
        drawn = sparkline(curve.points, f"{title}: {ends}", y_low=0.0, y_high=1.0 if curve.measure.is_share else 0.0)
        figures.append(
            f'<figure><figcaption class="small">{html.escape(title)} <span class="soft">{ends}</span></figcaption>{drawn}</figure>'
        )
    return (
        f'<div class="sparks">{"".join(figures)}</div>'
        if figures
        else f'<p class="soft small">{texts["no_curves"]}</p>'
    )
