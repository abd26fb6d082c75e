"""What was measured of labelled answers, as a DataFrame, as CSV and Markdown, and the answers side by side as HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.analysis.answers import AnswerSet
from wmkml.laboratory.analysis.output_diversity import temperature_order
from wmkml.measures.diversity_table import DIVERSITY

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("label", "kind", "measure", "temperature", "mean", "low", "high", "n")
ALL = "all"
"""In the column of temperatures: each prompt's mean over its temperatures."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Answers side by side</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1f2328; margin: 2rem; }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed; }}
th, td {{ border: 1px solid #e4e4e1; padding: .5rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }}
li {{ white-space: pre-wrap; }}
</style></head><body><h1>Answers side by side</h1>
{body}
</body></html>
"""


def rows(result: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Every estimate of `output_diversity`, as cells by COLUMNS; means over temperatures first."""
    for label, kinds in result["labels"].items():
        for kind, measures in kinds.items():
            for measure, values in measures.items():
                for temperature, estimate in ((ALL, values), *values["by_temperature"].items()):
                    numbers = (estimate[column] for column in ("mean", "low", "high", "n"))
                    yield label, kind, measure, temperature, *numbers


def to_frame(result: Mapping[str, Any]) -> DataFrame:
    """The estimates as a DataFrame with COLUMNS, one a row; needs pandas."""
    from pandas import DataFrame

    return DataFrame.from_records(list(rows(result)), columns=list(COLUMNS))


def to_csv(result: Mapping[str, Any]) -> str:
    """The estimates as CSV with COLUMNS; what could not be measured is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(result))
    return stream.getvalue()


def to_markdown(result: Mapping[str, Any]) -> str:
    """A table for each kind of prompt: measures down, labels across, each a mean with its 95 % interval."""
    labels = result["labels"]
    parts = []
    for kind in kinds_of(result):
        present = [label for label in labels if kind in labels[label]]
        lines = [
            f"## {kind}",
            "",
            f"| measure | means | as answers grow alike | {' | '.join(map(_cell, present))} |",
            f"| --- | --- | --- |{' --- |' * len(present)}",
        ]
        for name, measure in DIVERSITY.items():
            cells = [estimate_text(labels[label][kind][name]) for label in present]
            lines.append(f"| `{name}` | {measure.meaning} | {measure.direction} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def kinds_of(result: Mapping[str, Any]) -> list[str]:
    """The kinds of prompts in the order of their first label."""
    return list(dict.fromkeys(kind for kinds in result["labels"].values() for kind in kinds))


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """An estimate as text: "0.312 [0.290, 0.335], n = 20"; a dash where nothing was measured."""
    if estimate["mean"] is None:
        return "–"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return f"{estimate['mean']:.3f}{interval}, n = {estimate['n']}"


def side_by_side(labelled: Mapping[str, Sequence[AnswerSet]]) -> str:
    """The answers as a page of HTML: a table for each prompt, temperatures down, labels across."""
    by_prompt: dict[tuple[str, str], dict[str, dict[str, tuple[str, ...]]]] = {}
    for label, sets in labelled.items():
        for answers in sets:
            temperatures = by_prompt.setdefault((answers.kind, answers.prompt), {})
            temperatures.setdefault(answers.temperature, {})[label] = answers.answers
    body = []
    for (kind, prompt), temperatures in by_prompt.items():
        head = "".join(f"<th>{html.escape(label)}</th>" for label in labelled)
        body.append(f"<h2>{html.escape(prompt)}</h2><p>{html.escape(kind)}</p>")
        body.append(f"<table><tr><th>temperature</th>{head}</tr>")
        for temperature in sorted(temperatures, key=temperature_order):
            cells = "".join(f"<td>{_list(temperatures[temperature].get(label, ()))}</td>" for label in labelled)
            body.append(f"<tr><th>{html.escape(temperature)}</th>{cells}</tr>")
        body.append("</table>")
    return PAGE.format(body="\n".join(body))


def _list(answers: Sequence[str]) -> str:
    return f"<ol>{''.join(f'<li>{html.escape(answer)}</li>' for answer in answers)}</ol>" if answers else "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
