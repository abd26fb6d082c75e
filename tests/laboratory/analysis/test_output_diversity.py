"""`wmkml analyse --answers`: reading, averaging, intervals, tables and figures, and the command itself."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from wmkml.__main__ import command_parser, main
from wmkml.config.paths import PROJECT
from wmkml.laboratory.analysis import answers as answers_module
from wmkml.laboratory.analysis.answers import AnswersError, AnswerSet, check_memory, read_answers
from wmkml.laboratory.analysis.figures import diversity_figure
from wmkml.laboratory.analysis.frames import COLUMNS, to_frame, to_markdown
from wmkml.laboratory.analysis.output_diversity import DiversityOptions, estimate, measure_set, output_diversity
from wmkml.laboratory.analysis.page import side_by_side
from wmkml.laboratory.analysis.report import file_names, write_diversity
from wmkml.measures.diversity_table import DIVERSITY

A, B, C = ("a b c d", "a b c d"), ("a b c d", "e f g h"), ("a b c d", "a b c e")
"""Pairs of answers whose jaccard_2 is 1, 0 and 1/2."""


def answer_set(prompt: str, temperature: str, answers: tuple[str, ...], kind: str = "creative") -> AnswerSet:
    return AnswerSet(prompt, kind, temperature, answers, "en")


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")
    return path


def test_measures_are_averaged_over_temperatures_and_then_over_prompts() -> None:
    sets = [
        answer_set("p", "0.7", A),
        answer_set("p", "1", B),
        answer_set("q", "0.7", C),
        answer_set("r", "1", (), "seen"),
    ]
    creative = output_diversity({"PLM": sets})["labels"]["PLM"]["creative"]
    assert list(creative) == list(DIVERSITY)
    jaccard = creative["jaccard_2"]
    assert jaccard["mean"] == pytest.approx((0.5 + 0.5) / 2), "not (1 + 0 + 1/2) / 3: a prompt weighs the same"
    assert jaccard["n"] == 2, "prompts, not sets"
    assert list(jaccard["by_temperature"]) == ["0.7", "1"]
    assert jaccard["by_temperature"]["0.7"]["mean"] == pytest.approx(0.75)
    assert jaccard["by_temperature"]["0.7"]["n"] == 2
    assert jaccard["by_temperature"]["1"] == {"mean": 0.0, "low": None, "high": None, "n": 1}
    seen = output_diversity({"PLM": sets})["labels"]["PLM"]["seen"]["self_bleu"]
    assert (seen["mean"], seen["n"]) == (None, 0)


def test_temperatures_ascend_as_numbers() -> None:
    sets = [answer_set("p", temperature, A) for temperature in ("unknown", "10", "0.7", "2")]
    by_temperature = output_diversity({"x": sets})["labels"]["x"]["creative"]["ncd"]["by_temperature"]
    assert list(by_temperature) == ["0.7", "2", "10", "unknown"]


def test_an_interval_holds_the_mean_of_its_population_as_often_as_it_says() -> None:
    import numpy as np

    random = np.random.default_rng(1)
    intervals = [estimate(list(random.normal(3.0, 1.0, 40))) for _ in range(300)]
    covered = sum(item.low <= 3.0 <= item.high for item in intervals if item.low is not None and item.high is not None)
    assert 0.90 <= covered / len(intervals) <= 0.98
    width = np.mean([item.high - item.low for item in intervals if item.low is not None and item.high is not None])
    assert width == pytest.approx(2 * 1.96 / 40**0.5, rel=0.05), "the normal theory's"
    assert estimate([1.0, 2.0, 4.0]) == estimate([1.0, 2.0, 4.0]), "the same every time"


def test_answers_are_cut_after_so_many_words() -> None:
    assert answer_set("p", "1", (" a  b\nc d ", "a b", "")).cut(2).answers == (" a  b", "a b", "")
    sets = [answer_set("p", "1", ("a b c d", "a b x y"))]
    cut = output_diversity({"x": sets}, DiversityOptions(max_num_words=2))["labels"]["x"]["creative"]
    assert (cut["jaccard_2"]["mean"], cut["mean_length"]["mean"]) == (1.0, 2.0)
    alike = answer_set("p", "1", C)
    assert measure_set(alike, DiversityOptions(cluster_threshold=0.4))["clusters"] == 1.0
    assert measure_set(alike, DiversityOptions(cluster_threshold=0.6))["clusters"] == 2.0


def test_tables_and_figures_name_the_threshold_that_was_taken() -> None:
    result = output_diversity({"x": [answer_set("p", "1", C)]}, DiversityOptions(7, 0.3))
    assert result["options"] == {"max_num_words": 7, "cluster_threshold": 0.3}
    assert "linked from a Jaccard-2 of 0.3 |" in to_markdown(result)
    titles = [axes.get_title(loc="left").replace("\n", " ") for axes in diversity_figure(result, "creative").axes]
    assert any(title.startswith("clusters") and title.endswith("Jaccard-2 of 0.3") for title in titles)
    assert "linked from a Jaccard-2 of 0.5 |" in to_markdown(output_diversity({"x": [answer_set("p", "1", C)]}))


def test_where_there_is_no_n_gram_nothing_is_distinct_and_nothing_alike() -> None:
    sets = [answer_set("p", "1", ("ja", "", "ja")), answer_set("q", "1", ("a b c", "a b d"))]
    creative = output_diversity({"x": sets})["labels"]["x"]["creative"]
    assert (creative["distinct_1"]["mean"], creative["distinct_1"]["n"]) == (pytest.approx((1 / 2 + 4 / 6) / 2), 2)
    assert (creative["distinct_2"]["mean"], creative["distinct_2"]["n"]) == (pytest.approx(3 / 4), 1)
    assert (creative["distinct_4"]["mean"], creative["distinct_4"]["n"]) == (None, 0)


def test_a_kind_without_answers_has_a_figure_that_says_so(tmp_path: Path) -> None:
    labelled = {"x": [answer_set("p", "1", A), answer_set("p", "1", (), "seen")]}
    result = output_diversity(labelled)
    assert [text.get_text() for text in diversity_figure(result, "seen").texts][-1].startswith("Nothing could be")
    files = write_diversity(result, labelled, tmp_path)
    assert tmp_path / "output_diversity_seen.svg" in files and all(file.stat().st_size for file in files)


def test_every_kind_has_a_file_of_its_own() -> None:
    assert file_names(["a b", "a_b", "A b", "ü/", "?", "a_b_2"]) == {
        "a b": "a_b",
        "a_b": "a_b_2",
        "A b": "A_b_3",
        "ü/": "ü",
        "?": "kind_5",
        "a_b_2": "a_b_2_6",
    }
    assert list(file_names(["a_b_3", "a b", "a_b"]).values()) == ["a_b_3", "a_b", "a_b_3_3"]


def test_lines_of_the_same_prompt_kind_and_temperature_are_put_together(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        {"prompt": "p", "kind": "creative", "temperature": 0.70, "answers": ["x"]},
        {"prompt": "p", "kind": "creative", "temperature": 0.7, "answers": ["y"]},
        {"prompt": "p", "answers": ["z"]},
    )
    assert read_answers(path) == [
        AnswerSet("p", "creative", "0.7", ("x", "y")),
        AnswerSet("p", "unknown", "unknown", ("z",)),
    ]
    path.write_text('{"prompt": "p", "answers": ["\\ud83d\\udc08"]}', encoding="utf-8")
    assert read_answers(path)[0].answers == ("🐈",), "a whole pair is a character"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no answers. A line is to be"),
        ('{"prompt": "p", "answers": ["x"]}\n{"prompt"', "line 2: not JSON"),
        ("[1]", "line 1: not an object"),
        ('{"answers": ["x"]}', "line 1: `prompt` is missing"),
        ('{"prompt": "p", "answers": "x"}', "line 1: `answers` is missing or no list of texts"),
        ('{"prompt": "p", "answers": [null]}', "line 1: `answers` is missing or no list of texts"),
        ('{"prompt": "p", "kind": 1, "answers": []}', "line 1: `kind` is no text"),
        ('{"prompt": "p", "expected": "Paris", "answers": []}', "line 1: `expected` is no list of texts"),
        ('{"prompt": "p", "language": 1, "answers": []}', "line 1: `language` or `opening` is no text"),
        ('{"prompt": "p", "temperature": "hot", "answers": []}', "line 1: `temperature` is not a number"),
        ('{"prompt": "p", "temperature": NaN, "answers": []}', "line 1: `temperature` is not a number"),
        (
            '{"prompt": "p", "answers": ["b"]}\n{"prompt": "p", "answers": ["\\ud800 a"]}',
            "line 2: holds half of a surr",
        ),
        ('{"prompt": "\\uDC00", "answers": ["a", "b"]}', "line 1: holds half of a surrogate pair"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnswersError, match=message.replace("`", "`")) as caught:
        read_answers(path)
    assert str(path) in str(caught.value)


def test_what_does_not_fit_into_memory_is_said_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as stream:
        stream.truncate(2**30)  # a hole: it takes no space
    with pytest.raises(AnswersError, match=r"4\.0 GiB of memory, and 2\.0 are free"):
        check_memory([path], 2.0)
    check_memory([path], 4.5)
    # What is free counts, not what the machine has; and a system that does not say is believed.
    monkeypatch.setattr(answers_module, "available_gib", lambda: 1.0)
    with pytest.raises(AnswersError, match=r"1\.0 are free"):
        check_memory([path])
    monkeypatch.setattr(answers_module, "available_gib", lambda: None)
    check_memory([path])


def test_frame_table_figure_and_page_show_the_labels() -> None:
    labelled = {"PLM|1": [answer_set("p", "0.7", B), answer_set("q", "1", B)], "DPO": [answer_set("p", "0.7", A)]}
    result = output_diversity(labelled)
    frame = to_frame(result)
    assert list(frame.columns) == list(COLUMNS)
    row = frame[(frame.label == "DPO") & (frame.measure == "jaccard_2") & (frame.temperature == "0.7")]
    assert row["mean"].item() == 1.0 and row["n"].item() == 1
    table = to_markdown(result).splitlines()
    assert table[2].endswith("| PLM\\|1 | DPO |")
    assert (
        "| `jaccard_2` | pairs of words that two answers share | rises | 0.000 [0.000, 0.000], n = 2 | 1.000, n = 1 |"
        in table
    )
    figure = diversity_figure(result, "creative")
    assert len(figure.axes) == len(DIVERSITY)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["PLM|1", "DPO"]
    assert "<li>a b c d</li><li>e f g h</li>" in side_by_side(labelled)
    german = output_diversity({"x": [AnswerSet("p", "creative", "1", B, "de")]})
    meaning = german["labels"]["x"]["creative"]["vendi_embeddings"]
    assert (meaning["mean"], meaning["n"]) == (None, 0) and "answers in de" in meaning["not_measured"]
    assert "| `vendi_embeddings` |" in to_markdown(german) and "| falls | not measured |" in to_markdown(german)
    without = len(diversity_figure(german, "creative").axes)
    assert without == len(DIVERSITY) - sum(row.of_meaning for row in DIVERSITY.values())
    escaped = side_by_side({"x": [answer_set("<p>", "1", ("<script>",))]})
    assert "<script>" not in escaped and "&lt;script&gt;" in escaped


@pytest.mark.slow
def test_the_example_of_the_help_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    text = command_parser("analyse").format_help()
    (example,) = (line.split("analyse ", 1)[1] for line in text.splitlines() if "examples/answers" in line)
    out = tmp_path / "out"
    assert main(["analyse", *example.split(), "--out", str(out), "--json", str(tmp_path / "all.json")]) == 0
    captured = capsys.readouterr()
    assert "| `self_bleu` |" in captured.out and "base" in captured.out and "Traceback" not in captured.err
    assert sorted(path.name for path in out.iterdir()) == [
        "answers.html",
        "output_diversity.csv",
        "output_diversity.md",
        "output_diversity.png",
        "output_diversity.svg",
        *(f"output_diversity_{kind}.{ending}" for kind in ("creative", "factual") for ending in ("png", "svg")),
    ]
    assert (out / "output_diversity_creative.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "output_diversity_creative.svg").read_text(encoding="utf-8")
    written = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    with (out / "output_diversity.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    mean = written["labels"]["tuned"]["creative"]["self_bleu"]["mean"]
    assert [float(line["mean"]) for line in lines if matches(line, "tuned", "self_bleu")] == [mean]


def matches(line: dict[str, str], label: str, measure: str) -> bool:
    return (line["label"], line["kind"], line["measure"], line["temperature"]) == (label, "creative", measure, "all")


def test_the_command_prints_json_in_the_promised_form(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(PROJECT / "examples" / "answers" / f"{name}.jsonl") for name in ("base", "tuned")]
    assert main(["analyse", "--answers", *files, "--labels", "PLM,DPO", "--json", "-"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["options"] == {"max_num_words": None, "cluster_threshold": 0.5}
    assert result.keys() == {"labels", "options"} and list(result["labels"]) == ["PLM", "DPO"]
    assert list(result["labels"]["PLM"]) == ["creative", "factual"]
    bleu = result["labels"]["PLM"]["creative"]["self_bleu"]
    assert result["labels"]["PLM"]["creative"]["vendi_embeddings"]["n"] == 2, "the examples are in English"
    assert list(bleu) == ["mean", "low", "high", "n", "by_temperature"]
    assert list(bleu["by_temperature"]) == ["0.7", "1"] and bleu["n"] == 2
    assert list(bleu["by_temperature"]["0.7"]) == ["mean", "low", "high", "n"]
    assert result["labels"]["DPO"]["creative"]["self_bleu"]["mean"] > bleu["mean"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--answers nowhere.jsonl", "nowhere.jsonl cannot be read: No such file"),
        ("--answers a.jsonl b.jsonl --labels PLM", "--labels: 1 names for 2 files"),
        ("--answers a.jsonl a.jsonl", "each file needs a name of its own"),
        ("--answers a.jsonl --max-num-words 0", "--max-num-words: 0 is not allowed; allowed: at least 1."),
        ("--answers a.jsonl --cluster-threshold 0", "--cluster-threshold: 0 is not allowed"),
        ("--answers a.jsonl --json nowhere/x.json", "nowhere/x.json cannot be written: there is no folder nowhere"),
        ("--answers a.jsonl --labels \udcff", "--labels: holds a byte that is not UTF-8"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyse", *words.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and captured.out == ""


def test_a_full_disk_loses_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"prompt": "p", "answers": ["x", "y"]})
    assert main(["analyse", "--answers", str(path), "--json", "/dev/full"]) == 2
    captured = capsys.readouterr()
    assert "| `self_bleu` |" in captured.out
    assert "/dev/full cannot be written: No space left on device" in captured.err


def test_facts_are_measured_where_something_is_expected_and_marked_on_the_page(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        {"prompt": "p", "kind": "factual", "temperature": 1, "answers": ["Paris.", "Parisian."], "expected": ["paris"]},
        {"prompt": "q", "kind": "factual", "temperature": 1, "answers": ["a. b. Rome"], "expected": ["Rome"]},
        {"prompt": "r", "answers": ["x"]},
    )
    sets = read_answers(path, "en")
    assert [answers.language for answers in sets] == ["en"] * 3
    kinds = output_diversity({"x": sets})["labels"]["x"]
    assert kinds["factual"]["fact_accuracy"]["mean"] == pytest.approx((0.5 + 0.0) / 2), (
        "a third sentence does not count"
    )
    assert "fact_accuracy" not in kinds["unknown"]
    page = side_by_side({"x": sets})
    assert '<li class="right">Paris.</li><li class="wrong">Parisian.</li>' in page and "<li>x</li>" in page
    assert "| `fact_accuracy` |" in to_markdown({"labels": {"x": kinds}})
    assert "fact_accuracy" in diversity_figure({"labels": {"x": kinds}}, "factual").axes[-1].get_title(loc="left")


def test_different_numbers_of_answers_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lines(
        tmp_path / "a.jsonl", {"prompt": "p", "answers": ["x"]}, {"prompt": "q", "answers": ["x", "y", "z"]}
    )
    assert main(["analyse", "--answers", str(path), "--json", "-"]) == 0
    assert "prompts have from 1 to 3 answers" in capsys.readouterr().err
