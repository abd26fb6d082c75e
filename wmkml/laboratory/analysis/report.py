"""Writes what an analysis found into a folder: tables, figures, and the answers side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wmkml.laboratory.analysis.answers import AnswerSet
from wmkml.laboratory.analysis.figures import diversity_figure, overview_figure, save_figure
from wmkml.laboratory.analysis.frames import kinds_of, to_csv, to_markdown
from wmkml.laboratory.analysis.next_token.figures import measures_figure, positions_figure, ranks_figure
from wmkml.laboratory.analysis.next_token.tables import Results, next_token_csvs, next_token_markdown
from wmkml.laboratory.analysis.page import side_by_side


def write_diversity(result: Mapping[str, Any], labelled: Mapping[str, Sequence[AnswerSet]], out: Path) -> list[Path]:
    """Write what answers gave into a folder, which is made.  Returns the files."""
    files = _write_texts(
        out,
        {
            "output_diversity.csv": to_csv(result),
            "output_diversity.md": to_markdown(result),
            "answers.html": side_by_side(labelled),
        },
    )
    files += save_figure(overview_figure(result), out / "output_diversity")
    for kind, name in file_names(kinds_of(result)).items():
        files += save_figure(diversity_figure(result, kind), out / f"output_diversity_{name}")
    return files


def file_names(kinds: Sequence[str]) -> dict[str, str]:
    """A part of a file's name for each kind of prompts; no two are the same, on disks that know no upper case either."""
    names: dict[str, str] = {}
    for number, kind in enumerate(kinds, 1):
        name = re.sub(r"[^\w-]+", "_", kind).strip("_") or f"kind_{number}"
        taken = {other.lower() for other in names.values()}
        while name.lower() in taken:
            name = f"{name}_{number}"
        names[kind] = name
    return names


def write_next_tokens(results: Results, out: Path) -> list[Path]:
    """Write what a corpus gave into a folder, which is made.  Returns the files."""
    files = _write_texts(out, {**next_token_csvs(results), "next_token.md": next_token_markdown(results)})
    for name, figure in (
        ("next_token", measures_figure(results)),
        ("next_token_ranks", ranks_figure(results)),
        ("next_token_positions", positions_figure(results)),
    ):
        files += save_figure(figure, out / name)
    return files


def _write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]
