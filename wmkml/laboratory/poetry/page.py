"""Token poems as one page of HTML that shows each step: every token on a colour of its id, and what they print together."""

from __future__ import annotations

import html
from collections.abc import Sequence

from wmkml.laboratory.poetry.steps import PoemStep, TokenPoem

TURN = 137.508
"""Degrees between the hues of successive ids: the golden angle, by which neighbours differ most."""

PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tokenizer poetry</title><style>
body {{ font: 17px/1.5 Georgia, serif; color: #1f2328; background: #fbfaf7; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }}
h1, h2, th {{ font-weight: normal; }}
article {{ margin: 3rem 0; }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed; }}
th, td {{ border-top: 1px solid #ddd8cc; padding: .7rem .6rem; text-align: left; vertical-align: top; }}
th {{ width: 11rem; font: .85rem/1.5 system-ui, sans-serif; color: #57534a; overflow-wrap: anywhere; }}
.line {{ display: block; margin-bottom: .35rem; }}
.token {{ display: inline-block; padding: .05rem .2rem; margin: 1px; border-radius: .2rem; white-space: pre;
  font: .9rem/1.4 ui-monospace, monospace; color: #000; max-width: 100%; overflow-wrap: anywhere; }}
.token small {{ display: block; font-size: .6rem; color: #3d3a33; }}
.text {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
tr:last-child .text {{ font-size: 1.2rem; }}
</style></head><body><h1>Tokenizer poetry</h1>
<p>{note}</p>
{poems}
</body></html>
"""


def poetry_page(token_poems: Sequence[TokenPoem], note: str, language: str = "en") -> str:
    """The poems as a page of HTML; `note` says how they were made."""
    poems = "\n".join(_article(number, made) for number, made in enumerate(token_poems, 1))
    return PAGE.format(poems=poems, note=html.escape(note), language=html.escape(language))


def _article(number: int, made: TokenPoem) -> str:
    rows = "\n".join(map(_row, made.steps))
    return f"<article><h2>{number}. {html.escape(made.poem.title)}</h2><table>{rows}</table></article>"


def _row(step: PoemStep) -> str:
    lines = []
    for line in step.lines:
        tokens = "".join(_token(token, text) for token, text in zip(line.ids, line.tokens, strict=True))
        lines.append(f'<span class="line">{tokens}</span>')
    head = f"{html.escape(step.label)}<br>{html.escape(step.vocabulary)}"
    return f'<tr><th>{head}</th><td>{"".join(lines)}</td><td class="text">{html.escape(step.text)}</td></tr>'


def _token(token: int, text: str) -> str:
    shown = html.escape(text.replace("\n", "⏎").replace(" ", "·") or "∅")
    return f'<span class="token" style="background:hsl({token * TURN % 360:.0f} 70% 84%)">{shown}<small>{token}</small></span>'
