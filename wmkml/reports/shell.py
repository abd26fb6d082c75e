"""The frame of the report and of the archive: head, style sheet, title; no script, nothing from elsewhere."""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from pathlib import Path

from wmkml.reports.texts import TEXTS, ReportLanguage

TITLE = "Watch me kill my language"

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a page may load: nothing.  It stands in the page itself, so that it holds wherever the file is opened."""


@functools.cache
def style_sheet() -> str:
    """The style sheet of both pages."""
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")


def page(language: ReportLanguage, title: str, head: str, body: Sequence[str], foot: str) -> str:
    """A whole page of HTML.

    Args:
        title: plain text; what follows is HTML.
    """
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,"><title>{html.escape(title)}</title>\n<style>\n{style_sheet()}</style></head>\n'
        f'<body><a class="skip" href="#content">{TEXTS[language]["skip"]}</a>\n<header>{head}</header>\n'
        f'<main id="content" tabindex="-1">\n{chr(10).join(body)}\n</main>\n<footer>{foot}</footer></body></html>\n'
    )


def section(key: str, title: str, *parts: str) -> str:
    """A section with its heading."""
    return f'<section aria-labelledby="{key}"><h2 id="{key}">{html.escape(title)}</h2>\n{chr(10).join(parts)}</section>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """A table that scrolls by itself where it is too wide; the first cell of a row is its heading.

    Args:
        words: whether the other cells are running text.
    """
    cell_class = ' class="words"' if words else ""
    heads = "".join(f'<th scope="col"{cell_class}>{html.escape(cell)}</th>' for cell in head[1:])
    lines = "\n".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td{cell_class}>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{html.escape(caption)}"><table>'
        f"<caption>{html.escape(caption)}</caption>"
        f'<thead><tr><th scope="col">{html.escape(head[0])}</th>{heads}</tr></thead>\n<tbody>{lines}</tbody></table></div>'
    )
