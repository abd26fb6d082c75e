"""Readings as one page of HTML: every token on its colour, its numbers when it is pointed at or focused, models one below the other."""

from __future__ import annotations

import html
from collections.abc import Sequence

from wmkml.generation.colours import SHADES, number, percent, shade_of, visible
from wmkml.generation.probabilities import TextReading, TokenProbability

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Probabilities of tokens</title><style>
body {{ font: 16px/1.6 system-ui, sans-serif; color: #1f2328; background: #fff; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
.text {{ font-size: 1.25rem; line-height: 2.4; }}
.token {{ position: relative; padding: .2rem .05rem; border-radius: .15rem; white-space: pre-wrap; cursor: help; }}
.answer {{ border-bottom: 3px solid #1f2328; }}
.token:focus {{ outline: 2px solid #1f2328; }}
.token .numbers {{ display: none; position: absolute; left: 0; top: 2.2rem; z-index: 1; background: #fff; color: #1f2328;
  border: 1px solid #8c959f; padding: .4rem .6rem; font-size: .85rem; line-height: 1.4; white-space: pre; }}
.token:hover .numbers, .token:focus .numbers {{ display: block; }}
.legend span {{ padding: .2rem .6rem; margin-right: .4rem; font-size: .85rem; }}
table {{ border-collapse: collapse; font-size: .85rem; }}
td, th {{ border: 1px solid #e4e4e1; padding: .2rem .6rem; text-align: right; white-space: pre; }}
td.words {{ text-align: left; }}
</style></head><body><h1>Probabilities of tokens</h1>
<p>Each token on the colour of its probability before temperature; tokens that the model added itself are underlined.
Point at a token, or reach it with the Tab key, for its numbers.</p>
<p class="legend">{legend}</p>
{sections}
</body></html>
"""


def probability_page(readings: Sequence[TextReading]) -> str:
    """The readings as a page of HTML."""
    legend = "".join(
        f'<span style="background:{shade.background};color:{shade.ink}">{html.escape(shade.words)}</span>'
        for shade in SHADES
    )
    return PAGE.format(legend=legend, sections="\n".join(map(_section, readings)))


def _section(reading: TextReading) -> str:
    perplexity, entropy = reading.perplexity, reading.mean_entropy
    parts = [
        f"<h2>{html.escape(reading.label)}</h2>",
        f"<p>Perplexity {number(perplexity)}, mean entropy {number(entropy)} nats, {len(reading.shown)} tokens; raw, before "
        "temperature.</p>",
        f'<p class="text">{"".join(_token(token, reading.temperature) for token in reading.shown)}</p>',
    ]
    if reading.temperature is not None:
        tempered = "".join(_token(token, reading.temperature, tempered=True) for token in reading.shown)
        parts += [f"<h3>At temperature {reading.temperature:g}</h3>", f'<p class="text">{tempered}</p>']
    return "\n".join([*parts, _table(reading)])


def _token(token: TokenProbability, temperature: float | None, *, tempered: bool = False) -> str:
    shade = shade_of(token.probability_at if tempered else token.probability)
    numbers = [
        f"position {token.position}, id {token.id}",
        f"raw: {percent(token.probability)}, rank {token.rank or '–'}, entropy {number(token.entropy)} nats",
    ]
    if temperature is not None:
        numbers.append(f"at {temperature:g}: {percent(token.probability_at)}, entropy {number(token.entropy_at)} nats")
    numbers += [f"  {visible(other.text)}  {percent(other.probability)}" for other in token.alternatives]
    own = " answer" if token.part == "answer" else ""
    style = f"background:{shade.background};color:{shade.ink}"
    body = html.escape(visible(token.text)) + ("<br>" if "\n" in token.text else "")
    return (
        f'<span class="token{own}" tabindex="0" style="{style}">{body}'
        f'<span class="numbers">{html.escape(chr(10).join(numbers))}</span></span>'
    )


def _table(reading: TextReading) -> str:
    temperature = reading.temperature
    at = "" if temperature is None else f"<th>at {temperature:g}</th><th>entropy at {temperature:g}</th>"
    rows = []
    for token in reading.shown:
        nearest = "  ".join(f"{visible(other.text)} {percent(other.probability)}" for other in token.alternatives)
        more = (
            ""
            if temperature is None
            else f"<td>{percent(token.probability_at)}</td><td>{number(token.entropy_at)}</td>"
        )
        rows.append(
            f'<tr><td>{token.position}</td><td class="words">{html.escape(visible(token.text))}</td>'
            f"<td>{percent(token.probability)}</td><td>{token.rank or '–'}</td><td>{number(token.entropy)}</td>{more}"
            f'<td class="words">{html.escape(nearest)}</td></tr>'
        )
    head = f"<tr><th>#</th><th>token</th><th>raw</th><th>rank</th><th>entropy</th>{at}<th>nearest, raw</th></tr>"
    return f"<details><summary>As a table</summary><table>{head}{''.join(rows)}</table></details>"
