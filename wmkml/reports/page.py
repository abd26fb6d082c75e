"""The report of a run as one page of HTML that needs nothing else: its story, its losses, every measure, its settings.

Answers are in it where the record has them.  Everything of the record is escaped; a run's name or a setting is text.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from wmkml.measures.measure import Unit
from wmkml.measures.registry import TABLE
from wmkml.reports.charts import SMALL, WIDE, Point, chart, heat_map
from wmkml.reports.curves import MeasureCurve, curves_of
from wmkml.reports.folder import PAGE_FILE, REPORT_FILES
from wmkml.reports.record import IterationAnswer, KeptWords, RunRecord
from wmkml.reports.shell import TITLE, page, section, table
from wmkml.reports.story import ends_text, step_text, story
from wmkml.reports.texts import TEXTS, ReportLanguage, iteration_text, number_text, value_text

LOWEST: dict[Unit, float] = {"ratio": 1.0, "choices": 1.0}
"""Where the axis of a measure begins, if not at 0."""

OPEN_PROMPTS = 8
"""Prompts of the panel that are seen at once; the others are behind a click."""


def report_page(record: RunRecord, language: ReportLanguage) -> str:
    """The whole page."""
    texts = TEXTS[language]
    parts = [
        section("story", texts["story"], '<div class="story">', *_paragraphs(story(record, language)), "</div>"),
        _losses(record, language),
        _measures(record, language),
    ]
    if record.words is not None:
        parts += _words(record.words, language)
    parts.append(_settings(record, language))
    head = (
        f'<p class="over">{TITLE}</p><h1>{html.escape(texts["report"])}</h1>'
        f'<p class="soft">{html.escape(record.run)}</p><p class="note">{html.escape(_note(record, language))}</p>'
    )
    files = "".join(f'<li><a href="{name}">{name}</a></li>' for name in REPORT_FILES if name != PAGE_FILE)
    foot = f'<nav aria-label="{texts["files"]}">{texts["files"]}:<ul class="plain">{files}</ul></nav>'
    return page(language, f"{texts['report']}: {record.run}", head, parts, foot)


def _note(record: RunRecord, language: ReportLanguage) -> str:
    if record.words is None:
        return TEXTS[language]["only_numbers"]
    return TEXTS[language]["has_words" if record.kind == "installation" else "laboratory"]


def _paragraphs(texts: Sequence[str]) -> list[str]:
    return [f"<p>{html.escape(text)}</p>" for text in texts]


# --- losses ----------------------------------------------------------------------------------------------------------


def _losses(record: RunRecord, language: ReportLanguage) -> str:
    texts = TEXTS[language]
    parts = [f'<p class="soft">{texts["losses_hint"]}</p>', _steps_chart(record, language)] if record.losses else []
    known = [round_ for round_ in record.accepted() if round_.loss_first is not None and round_.loss_last is not None]
    if known:
        rates = [(float(round_.iteration), round_.learning_rate) for round_ in known]
        firsts = [(float(round_.iteration), round_.loss_first or 0.0) for round_ in known]
        lasts = [(float(round_.iteration), round_.loss_last or 0.0) for round_ in known]
        across = texts["across_label"].format(
            **_ends(firsts, language),
            first_end=_ends(lasts, language)["first"],
            last_end=_ends(lasts, language)["last"],
        )
        parts += [
            '<div class="grid-of">',
            _figure(texts["across"], _round_chart([firsts, lasts], across, language)),
            _figure(
                texts["rate"], _round_chart([rates], texts["rate_label"].format(**_ends(rates, language)), language)
            ),
            "</div>",
        ]
    if record.rounds:
        parts.append(_rounds_table(record, language))
    return section("losses", texts["losses"], *(parts or [f"<p>{texts['no_losses']}</p>"]))


def _steps_chart(record: RunRecord, language: ReportLanguage) -> str:
    lines: list[list[Point]] = []
    marks: list[Point] = []
    count = 0
    for iteration in sorted({point.iteration for point in record.losses}):
        losses = [point.loss for point in record.losses if point.iteration == iteration]
        lines.append([(float(count + number), loss) for number, loss in enumerate(losses)])
        marks.append((float(count), float(iteration)))
        count += len(losses)
    every = max(1, len(marks) // 12)
    drawn = chart(
        lines,
        TEXTS[language]["losses_label"].format(**_ends([lines[0][0], lines[-1][-1]], language)),
        size=WIDE,
        x_ticks=[],
        y_low=0.0,
        y_high=0.0,
        y_text=lambda value: number_text(language, value),
        marks=[
            (place, f"{TEXTS[language]['round']} {iteration:.0f}" if number % every == 0 else "")
            for number, (place, iteration) in enumerate(marks)
        ],
    )
    return f"<figure>{drawn}</figure>"


def _round_chart(lines: Sequence[Sequence[Point]], label: str, language: ReportLanguage) -> str:
    return chart(
        lines,
        label,
        size=SMALL,
        x_ticks=[(x, f"{x:.0f}") for x, _ in lines[0]],
        y_low=0.0,
        y_high=0.0,
        y_text=lambda value: number_text(language, value),
    )


def _ends(points: Sequence[Point], language: ReportLanguage) -> dict[str, str]:
    return {"first": number_text(language, points[0][1]), "last": number_text(language, points[-1][1])}


def _figure(caption: str, drawn: str) -> str:
    return f'<figure><figcaption><p class="small">{html.escape(caption)}</p></figcaption>{drawn}</figure>'


def _rounds_table(record: RunRecord, language: ReportLanguage) -> str:
    texts = TEXTS[language]
    keys = ("samples", "tokens", "steps", "rate", "loss_first", "loss_last", "train_seconds", "status")
    rows = [
        [
            str(round_.iteration),
            str(round_.samples),
            str(round_.tokens),
            str(round_.steps),
            number_text(language, round_.learning_rate),
            *("–" if loss is None else number_text(language, loss) for loss in (round_.loss_first, round_.loss_last)),
            number_text(language, round_.train_seconds),
            texts[round_.status if round_.status in ("accepted", "skipped") else "unfinished"],
        ]
        for round_ in record.rounds
    ]
    return table(texts["rounds"], [texts["round"], *(texts[key] for key in keys)], rows)


# --- measures --------------------------------------------------------------------------------------------------------


def _measures(record: RunRecord, language: ReportLanguage) -> str:
    texts, curves = TEXTS[language], curves_of(record)
    if not curves:
        return section("measures", texts["measures"], f"<p>{texts['no_measures']}</p>")
    figures = (
        f"<figure><figcaption><h3>{html.escape(curve.measure.words(language).title)}</h3>"
        f'<p class="big">{html.escape(ends_text(curve, language))}</p>'
        f'<p class="small">{html.escape(step_text(curve, language))}</p></figcaption>{measure_chart(curve, language)}'
        f'<p class="soft small">{html.escape(curve.measure.words(language).hint)}</p></figure>'
        for curve in curves
    )
    iterations = [numbers.iteration for numbers in record.measures]
    rows = [
        [curve.measure.words(language).title]
        + [
            "–" if (value := dict(curve.points).get(iteration)) is None else value_text(language, curve.measure, value)
            for iteration in iterations
        ]
        for curve in curves
    ]
    rows.append([texts["answers"], *(str(numbers.answers) for numbers in record.measures)])
    head = [texts["measure"], *(iteration_text(iteration) for iteration in iterations)]
    return section(
        "measures",
        texts["measures"],
        f'<p class="soft">{texts["measures_hint"]}</p><div class="grid-of">',
        *figures,
        "</div>",
        *_layers(record, language),
        table(f"{texts['values']} ({texts['iteration']} {head[1]} – {head[-1]})", head, rows),
    )


def _layers(record: RunRecord, language: ReportLanguage) -> list[str]:
    """Of each measure that was also taken of the model's layers, a field of layers and iterations."""
    texts, figures = TEXTS[language], []
    for measure in TABLE.values():
        taken = [numbers for numbers in record.measures if numbers.layers.get(measure.name)]
        known = [value for numbers in taken for value in numbers.layers[measure.name] if value is not None]
        if not known:
            continue
        count = max(len(numbers.layers[measure.name]) for numbers in taken)
        rows = [
            [values[layer] if layer < len(values := numbers.layers[measure.name]) else None for numbers in taken]
            for layer in range(count)
        ]
        top = max(known)
        words = measure.words(language)
        caption = texts["layers"].format(title=words.title, most=value_text(language, measure, top))
        drawn = heat_map(
            rows,
            caption,
            row_names=[str(layer) for layer in range(count)],
            column_names=[iteration_text(numbers.iteration) for numbers in taken],
            top=top,
            value_text=lambda value, measure=measure: value_text(language, measure, value),  # type: ignore[misc]
        )
        figures.append(
            f"<figure><figcaption><h3>{html.escape(texts['layers_title'].format(title=words.title))}</h3>"
            f'<p class="small">{html.escape(caption)}</p></figcaption>{drawn}</figure>'
        )
    return figures


def measure_chart(curve: MeasureCurve, language: ReportLanguage) -> str:
    """One measure against the iteration."""
    measure, points = curve.measure, curve.points
    label = TEXTS[language]["measure_label"].format(
        title=measure.words(language).title,
        first=value_text(language, measure, curve.first),
        last=value_text(language, measure, curve.last),
        **{"from": iteration_text(points[0][0]), "to": iteration_text(points[-1][0])},
    )
    low = LOWEST.get(measure.unit, 0.0)
    return chart(
        [points],
        label,
        size=SMALL,
        x_ticks=[(iteration, iteration_text(iteration)) for iteration, _ in points],
        y_low=low,
        y_high=1.0 if measure.is_share else low,
        y_text=lambda value: value_text(language, measure, value),
    )


# --- words and settings ----------------------------------------------------------------------------------------------


def _words(words: KeptWords, language: ReportLanguage) -> list[str]:
    texts, parts = TEXTS[language], []
    if words.persistent:
        tables = _answer_tables(words.persistent, language)
        parts.append(section("persistent", texts["persistent"], *tables))
    if words.panel:
        hint = f'<p class="soft">{texts["panel_hint"]}</p>'
        tables = _answer_tables(words.panel, language)
        rest = tables[OPEN_PROMPTS:]
        folded = [f"<details><summary>{texts['more']} ({len(rest)})</summary>", *rest, "</details>"] if rest else []
        parts.append(section("panel", texts["panel"], hint, *tables[:OPEN_PROMPTS], *folded))
    return parts


def _answer_tables(answers: Sequence[IterationAnswer], language: ReportLanguage) -> list[str]:
    """A table for each prompt: what each iteration has said, from the first to the last."""
    by_prompt: dict[str, list[IterationAnswer]] = {}
    for answer in answers:
        by_prompt.setdefault(answer.prompt, []).append(answer)
    texts = TEXTS[language]
    return [
        table(
            prompt,
            [texts["iteration"], texts["answers"]],
            [
                [iteration_text(answer.iteration), answer.answer or texts["no_answer"]]
                for answer in sorted(of_prompt, key=lambda answer: answer.iteration)
            ],
            words=True,
        )
        for prompt, of_prompt in by_prompt.items()
    ]


def _settings(record: RunRecord, language: ReportLanguage) -> str:
    texts = TEXTS[language]
    if not record.settings:
        return section("settings", texts["settings"], f"<p>{texts['default_settings']}</p>")
    rows = [[key, json.dumps(value, ensure_ascii=False)] for key, value in record.settings.items()]
    return section(
        "settings",
        texts["settings"],
        table(texts["settings_hint"], [texts["setting"], texts["value"]], rows, words=True),
    )
