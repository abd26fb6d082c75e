"""The report of a run: what is in it and what must not be, its files, its folder, and the command that makes it."""

from __future__ import annotations

import csv
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wmkml.__main__ import main
from wmkml.config import load_settings
from wmkml.measures.registry import TABLE
from wmkml.reports.archive import archive_page
from wmkml.reports.charts import ticks
from wmkml.reports.curves import MeasureCurve, curves_of
from wmkml.reports.folder import REPORT_FILES, files_of, read_record, remove_old, report_names, undrawn, write_record
from wmkml.reports.gathering import gather, record_of_folder
from wmkml.reports.page import report_page
from wmkml.reports.record import RunRecord
from wmkml.reports.story import step_text, story
from wmkml.reports.texts import REPORT_LANGUAGES, TEXTS, duration_text, number_text
from wmkml.runs.folder import append_line, create_run
from wmkml.runs.schema import AcceptedAdapter, NewPair, Round

PROMPTED, ANSWERED = "Xylophonquappe", "Quittenharfe"
"""Words of a visitor and of the language, which nothing else holds."""

NASTY = '<script>alert(1)</script> & "quoted"'


LAYERS: dict[int, list[float | None]] = {-1: [0.0, 0.0, 0.0], 0: [0.01, 0.02, None], 1: [0.02, 0.04, 0.01]}
"""The LoRA's update by layer, of each iteration."""


def make_run(runs: Path, name: str, **settings: Any) -> Path:
    """A run with two accepted rounds and a skipped one, in which a visitor spoke; it is over."""
    overrides = {"finetuning.num_total_iters": 4, "inference.url_key": "geheim", **settings}
    folder, store = create_run(runs, name, "de", load_settings(None, overrides=overrides))
    with closing(store):
        for iteration in (-1, 0, 1):
            answer = f"{ANSWERED} {NASTY} {iteration}. Nicht gezeigt"
            common: dict[str, Any] = {
                "language": "de",
                "answer": answer,
                "kept": len(answer) - 14,
                "iteration": iteration,
            }
            store.add_pairs(
                [
                    NewPair(source="visitor", prompt=PROMPTED, station="s1", live=True, **common),
                    NewPair(source="echo", prompt=PROMPTED, station="s1", live=True, **common),
                    NewPair(source="persistent", prompt="Was für Sprichwörter kennst du?", live=False, **common),
                ]
            )
            values = {"perplexity": 10.0 * 3 ** (iteration + 1), "confidence": None}
            store.set_measures(iteration, values, {"lora_update": LAYERS[iteration]})
        for iteration, status in enumerate(("accepted", "accepted", "skipped")):
            losses: dict[str, Any] = {"loss_first": 3.0 - iteration, "loss_last": 2.5 - iteration, "steps": 2}
            round_ = Round(iteration, status, 1, 0.001, [1, 2], 7, 10.0, tokens=50, train_seconds=30.0, **losses)  # type: ignore[arg-type]
            store.save_round(round_)
            if status == "accepted":
                store.accept(AcceptedAdapter(iteration, "nowhere", "0" * 64, from_round=True), round_)
            for step in (1, 2):
                append_line(
                    folder, "losses.jsonl", {"iteration": iteration, "step": step, "loss": 3.0 - iteration / step}
                )
        store.set_phase("waiting", 300.0)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the reports of a run that is not kept and of one that is, made by the command."""
    data = tmp_path_factory.mktemp("data")
    make_run(data / "runs", "20261101-120000-de-aaaa")
    make_run(data / "runs", "20261102-120000-de-bbbb", **{"general.keep_runs": True})
    for name in ("20261101-120000-de-aaaa", "20261102-120000-de-bbbb"):
        assert main(["report", str(data / "runs" / name)]) == 0
    return data


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_report_has_numbers_and_no_word(data: Path) -> None:
    folder = data / "reports" / "20261101-120000-de-aaaa"
    assert (
        files_of(folder)
        == list(REPORT_FILES)
        == sorted((path.name for path in folder.iterdir()), key=[*REPORT_FILES].index)
    )
    everything = content(folder)
    for word in (PROMPTED, ANSWERED, "geheim", "Nicht gezeigt"):
        assert word.encode() not in everything
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert TEXTS["de"]["only_numbers"] in page
    assert (
        "Sie lebte 5 Minuten und wurde in 2 Runden neu geformt (4 waren vorgesehen; 1 Runde kam nicht zustande)."
        in page
    )
    assert "Menschen sprachen 3 Mal mit ihr, an 1 Station." in page
    assert "Der Verlust fiel von 3 am Anfang der ersten Runde auf 1,5 am Ende der letzten." in page
    assert "10 → 90" in page
    assert "stieg am meisten von 0 auf 1" in page
    assert "<td>10</td><td>30</td><td>90</td>" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_a_kept_run_answered_is_in_its_report_as_it_was_shown(data: Path) -> None:
    page = (data / "reports" / "20261102-120000-de-bbbb" / "report.html").read_text(encoding="utf-8")
    assert TEXTS["de"]["has_words"] in page
    assert page.count(ANSWERED) == 3, "one answer of each iteration to the persistent prompt"
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    for word in (PROMPTED, "Nicht gezeigt", "geheim"):
        assert word.encode() not in content(data / "reports" / "20261102-120000-de-bbbb")


def test_the_tables_hold_the_same_numbers(data: Path) -> None:
    folder = data / "reports" / "20261101-120000-de-aaaa"
    with (folder / "measures.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["iteration"], row["perplexity"], row["answers"]) for row in rows] == [
        ("-1", "10.0", "3"),
        ("0", "30.0", "3"),
        ("1", "90.0", "3"),
    ]
    assert [row["confidence"] for row in rows] == ["", "", ""]
    with (folder / "losses.csv").open(encoding="utf-8") as file:
        losses = [(row["iteration"], row["step"], float(row["loss"])) for row in csv.DictReader(file)]
    assert losses == [
        ("0", "1", 3.0),
        ("0", "2", 3.0),
        ("1", "1", 2.0),
        ("1", "2", 2.5),
        ("2", "1", 1.0),
        ("2", "2", 2.0),
    ]
    with (folder / "layers.csv").open(encoding="utf-8") as file:
        layers = [(int(row["iteration"]), int(row["layer"]), row["lora_update"]) for row in csv.DictReader(file)]
    assert layers == [
        (iteration, layer, "" if value is None else str(value))
        for iteration, values in LAYERS.items()
        for layer, value in enumerate(values)
    ]
    for name in ("measures.png", "losses.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    settings = json.loads((folder / "report.json").read_text(encoding="utf-8"))["settings"]
    assert settings == {"finetuning.num_total_iters": 4}


@pytest.mark.parametrize("language", REPORT_LANGUAGES)
def test_a_report_can_be_had_in_both_languages_and_of_a_run_that_hardly_was(language: Any, tmp_path: Path) -> None:
    folder, store = create_run(tmp_path, "r", "en", load_settings(None))
    with closing(store):
        record = gather(folder, store, seconds=1.0)
    assert (record.accepted(), record.losses, curves_of(record)) == ([], [], [])
    page = report_page(record, language)
    assert f'<html lang="{language}">' in page
    assert TEXTS[language]["no_measures"] in page
    assert all(paragraph for paragraph in story(record, language))


def test_what_is_measured_by_layer_is_a_field_of_layers_and_iterations(data: Path) -> None:
    page = (data / "reports" / "20261101-120000-de-aaaa" / "report.html").read_text(encoding="utf-8")
    [field] = re.findall(r"<svg(?:(?!<svg).)*?fill-opacity.*?</svg>", page, re.S)
    cells = re.findall(r'<rect class="cell( none)?"(?: fill-opacity="([\d.]+)")? x="([\d.]+)" y="([\d.]+)"', field)
    assert len(cells) == 9
    at = {(float(x), float(y)): (bool(none), float(full or 0)) for none, full, x, y in cells}
    columns, rows = sorted({x for x, _ in at}), sorted({y for _, y in at}, reverse=True)
    shown = [[at[x, y] for y in rows] for x in columns]
    assert [[none for none, _ in column] for column in shown] == [[False] * 3, [False, False, True], [False] * 3]
    # Layer 0 is at the bottom; twice the update is twice the colour, but for a trace that shows a cell of nothing.
    trace = shown[0][0][1]
    full = [[(value - trace) / (1 - trace) for _, value in column] for column in shown]
    assert full[0] == pytest.approx([0, 0, 0], abs=1e-3)
    assert full[1][:2] == pytest.approx([0.25, 0.5], abs=1e-3)
    assert full[2] == pytest.approx([0.5, 1.0, 0.25], abs=1e-3)
    assert "Schicht für Schicht" in page


def test_a_model_of_many_layers_and_one_that_measured_none_have_a_page(tmp_path: Path) -> None:
    for name, layers in (("deep", [0.001 * number for number in range(80)]), ("none", [])):
        folder, store = create_run(tmp_path, name, "en", load_settings(None))
        with closing(store):
            store.set_measures(-1, {"perplexity": 10.0}, {"lora_update": layers} if layers else {})
            record = gather(folder, store, seconds=1.0)
        page = report_page(record, "en")
        assert page.count('<rect class="cell"') == len(layers)
        assert ("layer by layer" in page) is bool(layers)


def test_both_languages_have_the_same_texts() -> None:
    assert TEXTS["de"].keys() == TEXTS["en"].keys()


def test_a_second_attempt_replaces_the_losses_of_the_first(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "r")
    append_line(folder, "losses.jsonl", {"iteration": 0, "step": 1, "loss": 7.0})
    with (folder / "losses.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"iteration": 0, "step": 2, "lo')  # the owner was killed here
    losses = record_of_folder(folder).losses
    assert [point.loss for point in losses if point.iteration == 0] == [7.0]


def test_a_curve_knows_when_it_went_furthest_in_its_direction() -> None:
    falling = MeasureCurve(TABLE["distinct_2"], ((-1, 0.9), (0, 0.8), (1, 0.2), (2, 0.85)))
    assert falling.largest_step() == (0, 1)
    assert falling.goes_as_dying()
    assert step_text(falling, "en") == "fell most from 0 to 1"
    rising = MeasureCurve(TABLE["distinct_2"], ((-1, 0.1), (0, 0.2), (1, 0.3)))
    assert rising.largest_step() is None
    assert rising.goes_as_dying() is False
    either = MeasureCurve(TABLE["entropy"], ((-1, 1.0), (0, 1.1), (1, 3.0)))
    assert (either.largest_step(), either.goes_as_dying()) == ((0, 1), None)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (1, 1.57, [1, 1.2, 1.4]), (0, 90, [0, 50]), (0, 0.0042, [0, 0.002, 0.004]), (3, 3, [3])],
)
def test_an_axis_has_round_values(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_numbers_are_written_as_the_language_does() -> None:
    assert number_text("de", 12345.6) == "12.346"
    assert number_text("en", 12345.6) == "12,346"
    assert number_text("de", -0.0123) == "−0,0123"
    assert duration_text("de", 7260.0) == "2 h 01 min"
    assert duration_text("en", 1.0) == "1 second"


def test_the_newest_reports_stay_and_the_archive_shows_them_newest_first(data: Path, tmp_path: Path) -> None:
    record = read_record(data / "reports" / "20261101-120000-de-aaaa")
    for day in range(1, 6):
        name = f"2026110{day}-120000-de-aaaa"
        write_record(tmp_path / name, record.model_copy(update={"run": name}))
    (tmp_path / ".new-x").mkdir()
    (tmp_path / "20261105-120000-de-aaaa" / "report.json").write_text("{")
    remove_old(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"2026110{day}-120000-de-aaaa" for day in (3, 4, 5)]
    assert undrawn(tmp_path) == sorted(report_names(tmp_path))
    page = archive_page(tmp_path, "de")
    assert page.index('id="run-20261104') < page.index('id="run-20261103')
    assert "20261105" not in page, "a damaged record is passed over"
    assert page.count("<svg") == 4, "two curves of each of the two"
    assert TEXTS["de"]["drawn_soon"] in page


def test_a_report_is_drawn_anew_from_its_record(data: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    arguments = ["report", str(data / "reports" / "20261101-120000-de-aaaa"), "--out", str(out), "--language", "en"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert "What happened" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("20261101-120000-de-cccc", "There is no run 20261101-120000-de-cccc"),
        ("{data}/runs", "is no run's folder"),
        ("{data}/none", "is no run's folder"),
        ("{data}/damaged", "is no record of a run"),
        ("{data}/broken", "run.json is damaged"),
    ],
)
def test_what_cannot_be_reported_is_told(wanted: str, sentence: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "report.json").write_text("[]")
    broken = make_run(tmp_path, "broken")
    (broken / "run.json").write_text("{")
    arguments = [
        "report",
        wanted.format(data=tmp_path),
        "--set",
        f"general.data_folder={tmp_path}",
        "--model",
        "understudy",
    ]
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_runs_name_is_enough(tmp_path: Path, capsys: Any) -> None:
    make_run(tmp_path / "runs", "r")
    assert main(["report", "r", "--set", f"general.data_folder={tmp_path}", "--model", "understudy"]) == 0
    assert isinstance(read_record(tmp_path / "reports" / "r"), RunRecord)
