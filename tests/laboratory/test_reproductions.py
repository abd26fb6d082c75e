"""`collapse --reproduce`: the arithmetic exactly, the claims' judgement, and every lineage of the understudy in small."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wmkml.__main__ import command_parser, main
from wmkml.cli import collapse
from wmkml.config import UNDERSTUDY, Settings, load_settings
from wmkml.config.paths import PROJECT, laboratory_datasets, paths_of
from wmkml.laboratory import memory
from wmkml.laboratory.experiment import ExperimentRefusedError, check_experiment
from wmkml.laboratory.memory import memory_problem
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import Outcome, read_lines
from wmkml.laboratory.reproductions import gaussian, lineages, regression
from wmkml.laboratory.reproductions.claims import CLAIMS, PaperClaim, at_end, judge, judge_claim, left_of, mean_left
from wmkml.laboratory.reproductions.lineages import CONDITIONS, LineageOptions, conditions_of, experiment_of
from wmkml.laboratory.reproductions.table import ARITHMETIC, REPRODUCTIONS, ROUGH_TIMES, reproduce, write_result
from wmkml.laboratory.runner import is_finished
from wmkml.policy.pair_selection import HUMAN_ITERATION
from wmkml.runs.store import RunStore

# --- arithmetic


def test_the_formulas_are_those_of_the_papers() -> None:
    assert gaussian.expected_replacing(10, 3) == pytest.approx([0.9, 0.81, 0.729])
    assert gaussian.limit_accumulating(10) == pytest.approx(0.843, abs=5e-4)
    # Euler's product of the sine: what the finite products go to.
    assert gaussian.expected_accumulating(10, 20_000)[-1] == pytest.approx(gaussian.limit_accumulating(10), rel=1e-5)
    assert regression.one_generation(80, 20) == pytest.approx(20 / 59)
    many = regression.expected_accumulating(4000, 2, 3000)
    assert many[-1] < regression.BOUND and many[-1] == pytest.approx(regression.BOUND, abs=1e-3)


@pytest.mark.parametrize("accumulate", [False, True])
def test_simulated_gaussians_follow_the_formula(accumulate: bool) -> None:
    simulated = gaussian.simulate(10, 8, 20_000, seed=3, accumulate=accumulate)
    formula = gaussian.expected_accumulating if accumulate else gaussian.expected_replacing
    errors = simulated.std(axis=0) / np.sqrt(len(simulated))
    assert (abs(simulated.mean(axis=0) - formula(10, 8)) < 4 * errors).all()
    # What the formula says of n = 13 instead is told apart.
    assert (abs(simulated.mean(axis=0) - formula(13, 8)) > 4 * errors).any()


@pytest.mark.parametrize("accumulate", [False, True])
def test_simulated_regressions_follow_the_formula(accumulate: bool) -> None:
    simulated = regression.simulate(40, 10, 6, 1500, seed=3, accumulate=accumulate)
    formula = regression.expected_accumulating if accumulate else regression.expected_replacing
    errors = simulated.std(axis=0) / np.sqrt(len(simulated))
    assert (abs(simulated.mean(axis=0) - formula(40, 10, 6)) < 4 * errors).all()
    other = regression.expected_replacing if accumulate else regression.expected_accumulating
    assert (abs(simulated.mean(axis=0) - other(40, 10, 6)) > 4 * errors).any()


@pytest.mark.parametrize("name", ARITHMETIC)
def test_the_arithmetic_holds_and_is_written_in_every_form(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collapse", "--reproduce", name, "--out", str(tmp_path), "--json", "-"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["reproduce"] == name
    assert [finding["holds"] for finding in written["findings"]] == [True, True, True]
    assert all(finding["expected"] and finding["found"] and finding["paper"] for finding in written["findings"])
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
    with (tmp_path / f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["source"] for row in rows} == {"expected", "found"} and len(rows) == len(written["curves"])
    assert "expected" in (tmp_path / f"{name}.txt").read_text(encoding="utf-8")


def test_the_example_of_the_help_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others of the help play lives, which take minutes."""
    text = command_parser("collapse").format_help()
    (example,) = (line.split("-m wmkml ", 1)[1] for line in text.splitlines() if "wmkml collapse --reproduce" in line)
    assert main([*shlex.split(example), "--out", str(tmp_path)]) == 0
    assert "Shumailov" in capsys.readouterr().out and (tmp_path / "gaussian.svg").is_file()


def test_a_simulation_that_errs_is_shown_as_not_holding(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gaussian.simulate
    monkeypatch.setattr(gaussian, "simulate", lambda *args, **kwargs: right(*args, **kwargs) * 10 / 9)
    result = reproduce("gaussian")
    assert [finding.holds for finding in result.findings] == [False, False, False]
    assert result.findings_frame().holds.tolist() == [False, False, False]


# --- claims


def outcome(*ends: float) -> Outcome:
    """Lineages by seed whose loss on human text goes from 1 to these ends."""
    lines = {
        seed: [
            {"iteration": -1, "human_loss": 1.0, "seconds": 0.0},
            {"iteration": 0, "human_loss": end, "seconds": 1.0},
        ]
        for seed, end in enumerate(ends, 1)
    }
    return Outcome("test", lines)


@pytest.mark.parametrize(
    ("kept", "replaced", "holds"),
    [((1.1, 1.2, 1.3), (1.5, 1.4, 1.6), True), ((1.5, 1.4), (1.1, 1.2), False), ((1.1, 1.4), (1.3, 1.2), None)],
)
def test_a_claim_is_judged_by_its_differences_seed_by_seed(
    kept: tuple[float, ...], replaced: tuple[float, ...], holds: bool | None
) -> None:
    claim = PaperClaim("text", "paper", at_end("accumulate", "human_loss"), at_end("replace", "human_loss"))
    finding = judge_claim(claim, {"accumulate": outcome(*kept), "replace": outcome(*replaced)})
    assert finding.holds is holds
    assert finding.expected == "human_loss, at the end, accumulate < replace"
    assert f"{np.mean(kept):.3f}" in finding.observed and f"{np.mean(replaced):.3f}" in finding.observed


def test_a_claim_without_numbers_is_open() -> None:
    claim = PaperClaim("text", "paper", mean_left("a", "facts"), mean_left("a", "ended"))
    finding = judge_claim(claim, {"a": outcome(1.5)})
    assert (finding.observed, finding.holds) == ("not measured", None)


World = dict[str, dict[str, tuple[float, ...]]]
"""By condition and measure: what the untouched model and each generation had."""

AS_THE_PAPERS_SAY: dict[str, World] = {
    "replace-accumulate-subsample": {
        "accumulate": {"human_loss": (0.4, 0.42, 0.45)},
        "subsample": {"human_loss": (0.4, 0.5, 0.6)},
        "replace": {"human_loss": (0.4, 0.7, 0.9)},
    },
    "human-share": {
        "10 % human": {"human_loss": (0.4, 0.5, 0.6), "facts": (0.9, 0.8, 0.7)},
        "replace": {"human_loss": (0.4, 0.6, 0.9), "facts": (0.9, 0.6, 0.3)},
    },
    "decoding": {
        "temperature 1": {"distinct_2": (0.8, 0.75, 0.7)},
        "temperature 0.7": {"distinct_2": (0.8, 0.6, 0.5)},
        "top-p 0.9": {"distinct_2": (0.8, 0.55, 0.5)},
        "5 beams": {"distinct_2": (0.8, 0.3, 0.2)},
    },
    # Meanings are the smaller number here, and yet more is left of them.
    "order": {
        "temperature 0.7": {
            "distinct_2": (0.8, 0.6, 0.4),
            "distinct_frames": (0.9, 0.7, 0.5),
            "meaning_spread": (0.3, 0.29, 0.28),
        }
    },
    "facts-first": {
        "temperature 0.7": {"facts": (0.9, 0.5, 0.2), "ended": (0.5, 0.48, 0.45), "real_words": (1.0, 0.99, 0.98)}
    },
}
"""One world for each reproduction, written from the papers' sentences and not from the claims."""

AGAINST_THE_PAPERS: dict[str, World] = {
    "replace-accumulate-subsample": {
        "accumulate": {"human_loss": (0.4, 0.7, 0.9)},
        "subsample": {"human_loss": (0.4, 0.5, 0.6)},
        "replace": {"human_loss": (0.4, 0.42, 0.45)},
    },
    "human-share": {
        "10 % human": {"human_loss": (0.4, 0.6, 0.9), "facts": (0.9, 0.6, 0.3)},
        "replace": {"human_loss": (0.4, 0.5, 0.6), "facts": (0.9, 0.8, 0.7)},
    },
    "decoding": {
        "temperature 1": {"distinct_2": (0.8, 0.3, 0.2)},
        "temperature 0.7": {"distinct_2": (0.8, 0.6, 0.5)},
        "top-p 0.9": {"distinct_2": (0.8, 0.55, 0.5)},
        "5 beams": {"distinct_2": (0.8, 0.75, 0.7)},
    },
    "order": {
        "temperature 0.7": {
            "distinct_2": (0.8, 0.78, 0.76),
            "distinct_frames": (0.9, 0.88, 0.86),
            "meaning_spread": (0.3, 0.2, 0.1),
        }
    },
    "facts-first": {
        "temperature 0.7": {"facts": (0.9, 0.89, 0.88), "ended": (0.5, 0.3, 0.1), "real_words": (1.0, 0.8, 0.5)}
    },
}


def lineages_of(world: World) -> dict[str, Outcome]:
    """Three seeds of each condition; what seeds share does not matter, since they are compared one by one."""
    played = {}
    for condition, curves in world.items():
        lines: dict[int, list[dict[str, Any]]] = {}
        for seed in (1, 2, 3):
            generations = range(len(next(iter(curves.values()))))
            lines[seed] = [
                {"iteration": k - 1, **{name: curve[k] * (1 + seed / 100) for name, curve in curves.items()}}
                for k in generations
            ]
        played[condition] = Outcome("test", lines)
    return played


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_borne_out_by_a_world_as_the_papers_say_and_by_no_other(name: str) -> None:
    for worlds, verdict in ((AS_THE_PAPERS_SAY, True), (AGAINST_THE_PAPERS, False)):
        result = judge(name, lineages_of(worlds[name]), "en")
        verdicts = {finding.claim: finding.holds for finding in result.findings}
        assert verdicts == {claim.text: verdict for claim in CLAIMS[name].claims}
    # One seed alone decides nothing.
    alone = {
        condition: Outcome("test", {1: played.lines[1]})
        for condition, played in lineages_of(AS_THE_PAPERS_SAY[name]).items()
    }
    assert {finding.holds for finding in judge(name, alone, "en").findings} == {None}


def test_ways_of_drawing_are_ranked_from_the_soonest() -> None:
    (note,) = judge("decoding", lineages_of(AS_THE_PAPERS_SAY["decoding"]), "en").notes
    assert note.endswith("5 beams (31.2 %), top-p 0.9 (65.6 %), temperature 0.7 (68.8 %), temperature 1 (90.6 %).")


def test_what_is_left_is_reckoned_as_by_hand() -> None:
    lines: list[dict[str, Any]] = [{"iteration": k, "facts": value} for k, value in enumerate((0.8, 0.6, 0.2), -1)]
    assert at_end("a", "facts").value(lines) == 0.2
    assert left_of("a", "facts").value(lines) == pytest.approx(0.2 / 0.8)
    assert mean_left("a", "facts").value(lines) == pytest.approx((0.6 + 0.2) / 2 / 0.8)
    gap = [lines[0], {"iteration": 0}, lines[2]]
    assert mean_left("a", "facts").value(gap) == pytest.approx(0.25), "a generation that was not measured is left out"
    for quantity in (left_of("a", "facts"), mean_left("a", "facts")):
        assert quantity.value([{"iteration": -1, "facts": 0.0}, lines[1]]) is None, "of nothing no share is left"
        assert quantity.value([lines[0], {"iteration": 0}]) is None and quantity.value([]) is None


def test_the_rough_times_are_those_of_the_guide_and_are_said_first(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (PROJECT / "docs" / "reproductions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([^|]+) \|$", guide.partition("## How it is played")[0], re.MULTILINE)
    assert dict(rows) == dict(ROUGH_TIMES) and set(ROUGH_TIMES) == set(REPRODUCTIONS)
    (blocked := tmp_path / "file").write_text("not a folder")
    paths = paths_of(settings, PROJECT)
    with pytest.raises(ExperimentRefusedError, match="is not a folder"):
        reproduce("order", LineageOptions(settings, paths.model, paths.datasets, blocked), Progress())
    assert capsys.readouterr().err.startswith("order with the understudy: about 3 minutes of one core")


def test_every_name_of_the_command_is_a_reproduction() -> None:
    assert collapse.REPRODUCTIONS == REPRODUCTIONS
    assert {condition for name in CLAIMS for condition in conditions_of(name)} == set(CONDITIONS)


# --- lineages of the understudy, in small


@pytest.fixture(scope="module")
def settings() -> Settings:
    overrides: dict[str, Any] = {
        "inference.engine": "transformers",
        "inference.cpu_threads": 1,
        "inference.max_tokens": 32,
        **lineages.SETTINGS,
        "finetuning.num_total_iters": 2,
    }
    return load_settings(PROJECT / "config.yaml", model=UNDERSTUDY, overrides=overrides)


@pytest.fixture(scope="module")
def options(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> LineageOptions:
    folder = tmp_path_factory.mktemp("lineages")
    held_out = folder / "held_out.csv"
    held_out.write_text("prompt,answer\nWhat is a star?,A star is a light. It shines at night.\n", encoding="utf-8")
    paths = paths_of(settings, PROJECT)
    return LineageOptions(
        settings, paths.model, paths.datasets, folder / "out", "en", (1,), 3, 2, pairs=8, held_out=held_out
    )


@pytest.fixture(scope="module")
def played(options: LineageOptions) -> Iterator[dict[str, Any]]:
    """Every reproduction of the understudy, with its conditions' folders shared."""
    yield {name: asyncio.run(lineages.reproduce_lineages(name, options, Progress())) for name in CLAIMS}


@pytest.mark.process
@pytest.mark.parametrize("name", CLAIMS)
def test_a_reproduction_shows_expected_and_found_side_by_side(
    name: str, played: dict[str, Any], options: LineageOptions, tmp_path: Path
) -> None:
    result = played[name]
    assert len(result.findings) == len(CLAIMS[name].claims)
    assert [finding.claim for finding in result.findings if finding.observed == "not measured"] == []
    text = result.as_text()
    assert all(finding.paper in text and finding.expected in text for finding in result.findings)
    frame = result.to_frame()
    assert set(frame.condition) == set(conditions_of(name)) and set(frame.measure) == set(CLAIMS[name].measures)
    assert set(frame.generation) == {-1, 0, 1} and set(frame.n) == {1}
    files = write_result(result, tmp_path)
    assert {file.suffix for file in files} == {".txt", ".md", ".csv", ".png", ".svg"}
    assert all(file.stat().st_size for file in files)


@pytest.mark.process
def test_each_condition_trains_on_what_it_says(played: dict[str, Any], options: LineageOptions) -> None:
    samples = {}
    for condition in CONDITIONS:
        folder = experiment_of(condition, options).out / "seed-1"
        store = RunStore(folder / "run.sqlite")
        rounds = store.rounds()
        iterations = {
            candidate.pair: candidate.iteration for number in (0, 1) for candidate in store.dataset_pairs(number)
        }
        samples[condition] = [sorted(iterations[pair] for pair in round_.pairs) for round_ in rounds]
        assert samples[condition][0] == [HUMAN_ITERATION] * options.pairs, "generation 0 learns from people"
        store.close()
    for condition in ("replace", "temperature 1", "temperature 0.7", "top-p 0.9", "5 beams"):
        assert samples[condition][1] == [0] * options.pairs
    assert samples["accumulate"][1] == [HUMAN_ITERATION] * options.pairs + [0] * options.pairs
    assert len(samples["subsample"][1]) == options.pairs and set(samples["subsample"][1]) == {HUMAN_ITERATION, 0}
    assert samples["10 % human"][1] == [HUMAN_ITERATION] * 1 + [0] * (options.pairs - 1)


@pytest.mark.process
def test_generations_begin_anew_or_train_on_as_the_condition_says(
    played: dict[str, Any], options: LineageOptions
) -> None:
    """Each adapter's probe holds what was read by the untouched model and by the weights that its training began with."""
    for condition, plan in CONDITIONS.items():
        folder = experiment_of(condition, options).out / "seed-1" / "adapters" / "iteration-1-attempt-1"
        probe = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
        assert (probe["previous"] == probe["base"]) is (not plan.continued), condition


@pytest.mark.process
def test_beams_are_greedy_in_nothing_but_probability(played: dict[str, Any], options: LineageOptions) -> None:
    """The search finds the same answers again, and others than sampling does."""
    answers = {}
    for condition in ("5 beams", "temperature 1"):
        with_store = RunStore(experiment_of(condition, options).out / "seed-1" / "run.sqlite")
        pairs = [candidate.pair for candidate in with_store.dataset_pairs(1)]
        answers[condition] = [sample.answer for sample in with_store.samples(pairs)]
        with_store.close()
    assert answers["5 beams"] != answers["temperature 1"] and all(answers["5 beams"])


@pytest.mark.process
def test_what_is_played_is_not_played_again_and_what_was_interrupted_begins_anew(
    played: dict[str, Any], options: LineageOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, anew = (experiment_of(name, options).out / "seed-1" for name in ("replace", "10 % human"))
    before, lines = (kept / "run.sqlite").stat().st_mtime_ns, read_lines(anew)
    store = RunStore(anew / "run.sqlite")
    store.set_phase("running", 0.0)  # as a lineage that was stopped stands there
    store.close()
    result = asyncio.run(lineages.reproduce_lineages("human-share", options, Progress()))
    assert (kept / "run.sqlite").stat().st_mtime_ns == before
    assert is_finished(anew)
    again = [{name: value for name, value in line.items() if name != "seconds"} for line in read_lines(anew)]
    assert again == [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
    assert [finding.observed for finding in result.findings] == [
        finding.observed for finding in played["human-share"].findings
    ]
    printed = capsys.readouterr().err
    assert "1 lineages to play, 1 are there already" in printed and "All lineages will take about" in printed


@pytest.mark.process
def test_a_folder_that_another_program_plays_in_is_refused(played: dict[str, Any], options: LineageOptions) -> None:
    folder = experiment_of("temperature 0.7", options).out
    with lineages.held(folder), pytest.raises(ExperimentRefusedError, match="being played by another program"):
        asyncio.run(lineages.reproduce_lineages("facts-first", options, Progress()))


def test_an_experiment_that_does_not_fit_is_refused_before_it_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_gib", lambda device: 0.1)
    for more in ([], ["--reproduce", "order"]):
        words = ["--model", "understudy", "--device", "cpu", "--out", str(tmp_path / "out"), *more]
        assert main(["collapse", *words]) == 2
        err = capsys.readouterr().err
        assert "needs about 0.5 GiB of memory" in err and "0.1 are free on cpu" in err and "Traceback" not in err
        assert not (tmp_path / "out").exists()


def test_two_copies_of_the_weights_are_reckoned(tmp_path: Path) -> None:
    header = json.dumps(
        {"weight": {"dtype": "BF16", "shape": [1 << 15, 1 << 15], "data_offsets": [0, 1 << 31]}}
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    settings = load_settings(None, model=str(tmp_path))
    assert "(weights that answer 4.0, weights that are trained 4.0)" in memory_problem(settings, tmp_path, cpu, 8.4)
    assert memory_problem(settings, tmp_path, cpu, 8.6) == ""
    half = load_settings(None, model=str(tmp_path), overrides={"inference.dtype": "bfloat16"})
    assert "(weights that answer 2.0, weights that are trained 4.0)" in memory_problem(half, tmp_path, cpu, 6.4)
    # On a GPU the trainer may quantize its copy: only what cannot fit at all is refused.
    assert memory_problem(settings, tmp_path, cuda, 2.6) == ""
    assert "are free on cuda" in memory_problem(settings, tmp_path, cuda, 2.5)


def test_generations_need_no_visitors_and_visitors_no_folder_of_prompts(settings: Settings, tmp_path: Path) -> None:
    """As in a folder that holds nothing, with the package alone."""
    paths = paths_of(settings, tmp_path)
    options = LineageOptions(settings, paths.model, paths.datasets, tmp_path / "out")
    experiment = experiment_of("replace", options)
    assert not paths.datasets.exists()
    check_experiment(experiment, resume=False)
    visited = dataclasses.replace(experiment, plan=None)
    with pytest.raises(ExperimentRefusedError, match="holds no prompt set for visitors"):
        check_experiment(visited, resume=False)
    check_experiment(dataclasses.replace(visited, datasets=laboratory_datasets(settings, paths)), resume=False)
    # A folder that somebody has named is not replaced by another.
    general = settings.general.model_copy(update={"datasets_folder": "mine"})
    named = settings.model_copy(update={"general": general})
    assert laboratory_datasets(named, paths_of(named, tmp_path)) == tmp_path / "mine"
    paths.datasets.mkdir()
    assert laboratory_datasets(settings, paths) == paths.datasets


HUMAN = "tests/fixtures/human.csv"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--reproduce order --replace", "leave out --accumulate, --replace and --human-share"),
        ("--reproduce order --language fr", "--language: fr is not known here"),
        ("--reproduce order --model tests/fixtures", "--reproduce needs --human FILE with this model"),
        ("--held-out nowhere.csv", "--held-out: nowhere.csv cannot be read"),
        (f"--held-out {HUMAN} --human {HUMAN} --human-share 0.5", "--held-out and --human have 1 pairs in common"),
        ("--rounds 1 --out /proc/nowhere/life", "cannot be written"),
        ("--reproduce human-share --out config.yaml", "is not a folder"),
    ],
)
def test_what_cannot_be_reproduced_is_said_in_a_sentence(
    words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    assert main(["collapse", "--set", f"general.data_folder={tmp_path}", *words.split()]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and "Traceback" not in captured.err and captured.out == ""
