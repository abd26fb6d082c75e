"""Answers of labelled models side by side, as a page of HTML without scripts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from wmkml.laboratory.analysis.answers import AnswerSet
from wmkml.laboratory.analysis.output_diversity import temperature_order
from wmkml.measures.facts import states_fact

OPEN_ANSWERS = 3
"""Answers of a cell that are seen at once; the others are behind a click."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Answers side by side</title><style>
:root {{ color-scheme: light dark; --line: #8884; --quiet: #777; --right: #1a7f37; --wrong: #b3261e; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; max-width: none; }}
h1 {{ font-size: 1.4rem; }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }}
.quiet {{ color: var(--quiet); }}
summary {{ cursor: pointer; }}
details.prompt {{ border-top: 1px solid var(--line); padding: .5rem 0; }}
details.prompt > summary {{ font-weight: 600; }}
.wide {{ overflow-x: auto; margin: .5rem 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid var(--line); padding: .4rem .6rem; text-align: left; vertical-align: top; }}
td {{ min-width: 15rem; max-width: 26rem; overflow-wrap: anywhere; }}
th[scope=row] {{ white-space: nowrap; font-weight: 400; }}
ol {{ margin: 0; padding-left: 1.4rem; }} li {{ white-space: pre-wrap; }}
li.right::marker {{ color: var(--right); content: "✓ "; }} li.wrong::marker {{ color: var(--wrong); content: "✗ "; }}
</style></head><body><h1>Answers side by side: {labels}</h1>
{body}
</body></html>
"""


def side_by_side(labelled: Mapping[str, Sequence[AnswerSet]]) -> str:
    """The answers as a page: a table for each prompt, temperatures down, labels across; right answers are marked."""
    by_prompt: dict[tuple[str, str], dict[str, dict[str, AnswerSet]]] = {}
    for label, sets in labelled.items():
        for answers in sets:
            temperatures = by_prompt.setdefault((answers.kind, answers.prompt), {})
            temperatures.setdefault(answers.temperature, {})[label] = answers
    head = "".join(f'<th scope="col">{html.escape(label)}</th>' for label in labelled)
    body, kind_before = [], None
    for (kind, prompt), temperatures in sorted(by_prompt.items(), key=lambda item: item[0][0]):
        if kind != kind_before:
            count = sum(other == kind for other, _ in by_prompt)
            body.append(f'<h2>{html.escape(kind)} <span class="quiet">{count} prompts</span></h2>')
        first = next(answers for of_labels in temperatures.values() for answers in of_labels.values())
        opened = " open" if kind != kind_before else ""
        body.append(f'<details class="prompt"{opened}><summary>{html.escape(prompt)}</summary>{_about(first)}')
        body.append(f'<div class="wide"><table><tr><th scope="col">temperature</th>{head}</tr>')
        for temperature in sorted(temperatures, key=temperature_order):
            cells = "".join(f"<td>{_cell(temperatures[temperature].get(label))}</td>" for label in labelled)
            body.append(f'<tr><th scope="row">{html.escape(temperature)}</th>{cells}</tr>')
        body.append("</table></div></details>")
        kind_before = kind
    return PAGE.format(labels=html.escape(", ".join(labelled)), body="\n".join(body))


def _about(answers: AnswerSet) -> str:
    parts = []
    if answers.opening:
        parts.append(f"The answer was begun with: {html.escape(answers.opening)} …")
    if answers.expected:
        parts.append(f"Expected: {html.escape(' or '.join(answers.expected))}")
    return f'<p class="quiet">{"; ".join(parts)}</p>' if parts else ""


def _cell(answers: AnswerSet | None) -> str:
    if answers is None or not answers.answers:
        return "–"
    items = [_item(answers, text) for text in answers.answers]
    shown = f"<ol>{''.join(items[:OPEN_ANSWERS])}</ol>"
    if len(items) <= OPEN_ANSWERS:
        return shown
    rest = f'<ol start="{OPEN_ANSWERS + 1}">{"".join(items[OPEN_ANSWERS:])}</ol>'
    return f'{shown}<details><summary class="quiet">{len(items) - OPEN_ANSWERS} more</summary>{rest}</details>'


def _item(answers: AnswerSet, text: str) -> str:
    mark = ""
    if answers.expected:
        mark = ' class="right"' if states_fact(text, answers.expected) else ' class="wrong"'
    shown = html.escape(text.strip()) or '<span class="quiet">(empty)</span>'
    return f"<li{mark}>{shown}</li>"
