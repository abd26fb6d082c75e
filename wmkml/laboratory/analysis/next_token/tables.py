"""Next-token results of labelled models as DataFrames, CSV and Markdown.

`results` is what `next_token_result` gives, by label.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.laboratory.analysis.next_token.results import MACRO, MEASURES, MICRO

if TYPE_CHECKING:
    from pandas import DataFrame

Results = Mapping[str, Mapping[str, Any]]

COLUMNS = ("label", "scope", "measure", "value", "standard_error", "documents", "tokens")
RANK_COLUMNS = (
    "label",
    "scope",
    "rank",
    "probability",
    "probability_standard_error",
    "cumulative",
    "cumulative_standard_error",
)
POSITION_COLUMNS = (
    "label",
    "scope",
    "position",
    "entropy",
    "entropy_standard_error",
    "log_probability",
    "log_probability_standard_error",
)


def scopes(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A model's micro and macro averages, and its files by their paths."""
    yield MICRO, result[MICRO]
    yield MACRO, result[MACRO]
    yield from result["files"].items()


def rows(results: Results) -> Iterator[tuple[Any, ...]]:
    """Every number as cells by COLUMNS."""
    for label, result in results.items():
        for scope, numbers in scopes(result):
            for name in MEASURES:
                measured = numbers["measures"][name]
                counts = (numbers.get("documents"), numbers.get("tokens"))
                yield label, scope, name, measured["value"], measured["error"], *counts


def rank_rows(results: Results) -> Iterator[tuple[Any, ...]]:
    """Every rank of every scope as cells by RANK_COLUMNS; ranks count from 1."""
    for label, result in results.items():
        for scope, numbers in scopes(result):
            curves = numbers["ranks"]
            names = ("probability", "probability_error", "cumulative", "cumulative_error")
            for rank, values in enumerate(zip(*(curves[name] for name in names), strict=True), 1):
                yield label, scope, rank, *values


def position_rows(results: Results) -> Iterator[tuple[Any, ...]]:
    """Every position in the window that was predicted as cells by POSITION_COLUMNS; positions count from 1."""
    for label, result in results.items():
        for scope, numbers in scopes(result):
            curves = numbers["positions"]
            names = ("entropy", "entropy_error", "log_probability", "log_probability_error")
            for position, values in enumerate(zip(*(curves[name] for name in names), strict=True), 1):
                if values[0] is not None:
                    yield label, scope, position, *values


def next_token_frame(results: Results) -> DataFrame:
    """Every number as a DataFrame with COLUMNS, one a row; needs pandas."""
    from pandas import DataFrame

    return DataFrame.from_records(list(rows(results)), columns=list(COLUMNS))


def rank_frame(results: Results) -> DataFrame:
    """The curves over ranks as a DataFrame with RANK_COLUMNS; needs pandas."""
    from pandas import DataFrame

    return DataFrame.from_records(list(rank_rows(results)), columns=list(RANK_COLUMNS))


def position_frame(results: Results) -> DataFrame:
    """The curves over positions as a DataFrame with POSITION_COLUMNS; needs pandas."""
    from pandas import DataFrame

    return DataFrame.from_records(list(position_rows(results)), columns=list(POSITION_COLUMNS))


def next_token_csvs(results: Results) -> dict[str, str]:
    """The tables as CSV by the name of their file; what is not known is empty."""
    return {
        "next_token.csv": _csv(COLUMNS, rows(results)),
        "next_token_ranks.csv": _csv(RANK_COLUMNS, rank_rows(results)),
        "next_token_positions.csv": _csv(POSITION_COLUMNS, position_rows(results)),
    }


def next_token_markdown(results: Results) -> str:
    """A table of each scope: measures down, labels across, each with its standard error."""
    first = next(iter(results.values()))
    counts = {label: (result[MICRO]["documents"], result[MICRO]["tokens"]) for label, result in results.items()}
    if len(set(counts.values())) == 1:
        sizes = "{:,} documents, {:,} tokens".format(*next(iter(counts.values())))
    else:  # another tokenizer
        sizes = "; ".join(
            f"{label}: {documents:,} documents, {tokens:,} tokens" for label, (documents, tokens) in counts.items()
        )
    parts = [
        f"{sizes}. Window {first['window']} tokens, stride {first['stride']}; ± is the standard error, clustered by document."
    ]
    several = len(first["files"]) > 1
    titles = {MICRO: "all files together (micro average)" if several else next(iter(first["files"]))}
    if several:
        titles |= {MACRO: "mean over files (macro average)"} | {name: name for name in first["files"]}
    for scope, title in titles.items():
        lines = [
            f"## Next token: {Path(title).name if scope not in (MICRO, MACRO) or not several else title}",
            "",
            f"| measure | means | as the model grows certain | {' | '.join(_cell(label) for label in results)} |",
            f"| --- | --- | --- |{' --- |' * len(results)}",
        ]
        for name, measure in MEASURES.items():
            cells = [value_text(dict(scopes(result))[scope]["measures"][name]) for result in results.values()]
            lines.append(f"| `{name}` | {measure.meaning} | {measure.direction} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def value_text(measured: Mapping[str, Any]) -> str:
    """A number with its standard error as text, "2.176 ± 0.065"; a dash where it is not known."""
    if measured["value"] is None:
        return "–"
    error = "" if measured["error"] is None else f" ± {_digits(measured['error'], 2)}"
    return f"{_digits(measured['value'], 4)}{error}"


def _digits(value: float, digits: int) -> str:
    """With so many significant digits, and without an exponent where it is at least 1."""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def _csv(columns: tuple[str, ...], lines: Iterator[tuple[Any, ...]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return stream.getvalue()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
