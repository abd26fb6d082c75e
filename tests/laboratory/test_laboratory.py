"""The laboratory: whole small runs of a random model, refused and resumed experiments, mixed-in human text, and measures."""

from __future__ import annotations

import asyncio
import dataclasses
import html
import json
import shutil
import sqlite3
import types
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.engine.random_model import make_model
from wmkml.__main__ import main
from wmkml.config import Settings, load_settings
from wmkml.config.paths import PROJECT
from wmkml.laboratory import evaluation
from wmkml.laboratory.arc import judge
from wmkml.laboratory.experiment import (
    PANEL,
    Experiment,
    ExperimentRefusedError,
    check_experiment,
    seeded_random,
    write_description,
)
from wmkml.laboratory.generation import GeneratedAnswer
from wmkml.laboratory.human import generate_human_pairs
from wmkml.laboratory.measures import measure_answers
from wmkml.laboratory.pairs import PairGenerator
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import MeasuresLine, Outcome, read_lines
from wmkml.laboratory.resources import LaboratoryResources, start_resources
from wmkml.laboratory.runner import PLOT_FILE, SUMMARY_FILE, run_seeds
from wmkml.measures.dictionaries import word_shares
from wmkml.measures.registry import TABLE
from wmkml.measures.texts import distinct_n, ends_with_sentence
from wmkml.policy.pair_selection import HUMAN_ITERATION
from wmkml.reports.folder import read_record
from wmkml.runs import folder as runs
from wmkml.training.loop import TrainingSpoiledError
from wmkml.training.samples import IGNORED

Result = TypeVar("Result")
SMALL: dict[str, Any] = {
    "finetuning.num_total_iters": 3,
    "finetuning.samples_by_iteration": 8,
    "finetuning.live_samples_by_iteration": 6,
    "finetuning.sample_increase_by_iteration": 1,
    "finetuning.batch_size": 4,
    "finetuning.dataset_array": [["alltag_de"], ["natur_de"], []],
    "inference.num_generated_responses": 2,
    "inference.max_tokens": 12,
    "inference.engine": "transformers",
    "inference.cpu_threads": 1,
    # So that every machine computes the same.
    "finetuning.precision": "float32",
}


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    model = make_model(tmp_path_factory.mktemp("laboratory") / "model")
    return load_settings(None, model=str(model), overrides=SMALL)


@pytest.fixture(scope="module")
def bench(settings: Settings, loop: asyncio.AbstractEventLoop) -> Iterator[LaboratoryResources]:
    standing = start_resources(settings, Path(settings.general.model_name))
    yield loop.run_until_complete(standing.__aenter__())
    loop.run_until_complete(standing.__aexit__(None, None, None))


Play = Callable[..., Outcome]


def experiment_in(out: Path, settings: Settings) -> Experiment:
    model = Path(settings.general.model_name)
    return Experiment(settings, model, PROJECT / "Datasets", "de", (1,), "quiet", out, panel_size=4)


def run_experiment(bench: LaboratoryResources, experiment: Experiment, loop: asyncio.AbstractEventLoop) -> Outcome:
    write_description(experiment)
    return loop.run_until_complete(run_seeds(bench, experiment, Progress()))


@pytest.fixture
def experiment(settings: Settings, tmp_path: Path) -> Experiment:
    return experiment_in(tmp_path / "out", settings)


@pytest.fixture
def play(bench: LaboratoryResources, experiment: Experiment, loop: asyncio.AbstractEventLoop) -> Play:
    return lambda **changes: run_experiment(bench, dataclasses.replace(experiment, **changes), loop)


@dataclasses.dataclass(frozen=True)
class PlayedLife:
    """An experiment that was played to its end, and what came of it; its folder is to be read only."""

    experiment: Experiment
    outcome: Outcome

    @property
    def folder(self) -> Path:
        """The run folder of its only seed."""
        return self.experiment.out / "seed-1"


@pytest.fixture(scope="module")
def life(
    bench: LaboratoryResources,
    settings: Settings,
    loop: asyncio.AbstractEventLoop,
    tmp_path_factory: pytest.TempPathFactory,
) -> PlayedLife:
    """The plainest life, and its panel, which several tests look at."""
    folder = tmp_path_factory.mktemp("life")
    file = folder / "panel.yaml"
    file.write_text('de: {creative: ["Wie klingt die Stille?"]}', encoding="utf-8")
    experiment = dataclasses.replace(experiment_in(folder / "out", settings), panel_answers=4, panel_file=file)
    return PlayedLife(experiment, run_experiment(bench, experiment, loop))


@pytest.fixture(scope="module")
def mixed_life(
    bench: LaboratoryResources,
    settings: Settings,
    loop: asyncio.AbstractEventLoop,
    tmp_path_factory: pytest.TempPathFactory,
) -> PlayedLife:
    """A life of two languages that keeps all it was told and mixes human words in: choices that do not touch each other."""
    folder = tmp_path_factory.mktemp("mixed")
    human = folder / "human.csv"
    human.write_text("prompt,answer\nWer bist du?,Ein Mensch.\nWo bist du?,\nUnd jetzt?,Hier.\n", encoding="utf-8")
    experiment = dataclasses.replace(
        experiment_in(folder / "out", settings),
        visitors="bilingual",
        keeping="accumulate",
        human_share=0.5,
        human=human,
    )
    return PlayedLife(experiment, run_experiment(bench, experiment, loop))


def rows(folder: Path, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / "run.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def without_clock(lines: list[MeasuresLine]) -> list[MeasuresLine]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.process
def test_the_panel_is_measured(life: PlayedLife) -> None:
    """That it changes nothing else: `test_a_life_follows_from_its_seed`, which plays the same life without it."""
    for line in life.outcome.lines[1]:
        assert line["panel_answered"] == 1.0, "the one prompt and the persistent one, four times each"


@pytest.mark.process
def test_a_life_leaves_a_run_folder_of_the_documented_form(life: PlayedLife) -> None:
    experiment, outcome, folder = life.experiment, life.outcome, life.folder
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert (about["kind"], about["language"], about["laboratory"]["seed"]) == ("laboratory", "de", 1)
    [run] = rows(folder, "SELECT * FROM run")
    assert (run["phase"], run["iteration"]) == ("waiting", 2)
    rounds = rows(folder, "SELECT * FROM rounds")
    assert [round_["status"] for round_ in rounds] == ["accepted"] * 3
    assert [len(json.loads(round_["pairs"])) for round_ in rounds] == [8, 9, 10]
    assert [round_["learning_rate"] for round_ in rounds] == pytest.approx([0.0015, 0.0014, 0.0013])
    assert len(rows(folder, "SELECT * FROM adapters")) == 3
    assert all((folder / "adapters" / f"iteration-{number}-attempt-1").is_dir() for number in range(3))
    steps = [json.loads(line) for line in (folder / "losses.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [step["iteration"] for step in steps if step["step"] == 1] == [0, 1, 2]
    lines = read_lines(folder)
    assert [line["iteration"] for line in lines] == [-1, 0, 1, 2] == [line["round"] - 1 for line in lines]
    assert {"distinct_2", "distinct_2_first", "entropy", "real_words", "base_loss"} <= set(lines[0])
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [answer["iteration"] for answer in answers] == [
        number for number in (-1, 0, 1, 2) for _ in range(experiment.panel_size)
    ]
    of_base = [answer["answer"] for answer in answers if answer["iteration"] == -1]
    assert distinct_n(of_base) == lines[0]["distinct_2"]
    assert {answer["prompt"] for answer in answers} == set(PANEL[experiment.language][: experiment.panel_size])
    assert {"loss_first", "loss_last"} <= set(lines[1])
    assert lines == outcome.lines[1]
    assert (experiment.out / PLOT_FILE).read_bytes().startswith(b"\x89PNG")
    assert json.loads((experiment.out / SUMMARY_FILE).read_text(encoding="utf-8"))["mean"]["distinct_2"].keys() == {
        "-1",
        "0",
        "1",
        "2",
    }
    assert main(["report", str(folder), "--language", "en"]) == 0
    report = read_record(folder / "report")
    assert [numbers.values["distinct_2"] for numbers in report.measures] == [line["distinct_2"] for line in lines]
    assert len(report.losses) == len(steps)
    assert report.words is not None
    assert [(answer.iteration, answer.answer) for answer in report.words.panel] == [
        (answer["iteration"], answer["answer"]) for answer in answers
    ]
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert all(html.escape(measure.words("en").title) in page for measure in (TABLE["distinct_2"], TABLE["base_loss"]))


@pytest.mark.process
def test_visitors_speak_to_the_iteration_before_while_a_round_trains(life: PlayedLife) -> None:
    folder = life.folder
    groups = rows(folder, "SELECT source, iteration, count(*) n FROM pairs GROUP BY source, iteration")
    counts = {(group["source"], group["iteration"]): group["n"] for group in groups}
    # No visitor speaks while the last round trains, since no later round would learn from it.
    assert {key for key in counts if key[0] == "visitor"} == {("visitor", -1), ("visitor", 0)}
    assert counts["visitor", 0] == 2 and counts["echo", 0] == 4
    assert counts["persistent", -1] == 2 and counts["persistent", 2] == 1
    assert {key[1] for key in counts if key[0] == "dataset"} == {-1}
    live = {pair["pair"]: pair["iteration"] for pair in rows(folder, "SELECT pair, iteration FROM pairs")}
    for round_ in rows(folder, "SELECT iteration, pairs FROM rounds"):
        assert max(live[pair] for pair in json.loads(round_["pairs"])) <= max(-1, round_["iteration"] - 2)


@pytest.mark.process
def test_every_other_station_of_bilingual_visitors_speaks_the_other_language(mixed_life: PlayedLife) -> None:
    pairs = rows(mixed_life.folder, "SELECT source, station, language, prompt FROM pairs")
    by_station = {pair["station"]: pair["language"] for pair in pairs if pair["source"] == "visitor"}
    assert by_station == {f"visitor-{number}": "en" if number % 2 == 0 else "de" for number in range(1, 7)}
    for language in ("de", "en"):
        prompts = {pair["prompt"] for pair in pairs if pair["source"] == "visitor" and pair["language"] == language}
        assert prompts and prompts <= set(mixed_life.experiment.visitor_prompts(language))
        echoed = {pair["prompt"] for pair in pairs if pair["source"] == "echo" and pair["language"] == language}
        assert echoed == prompts
    # Dataset prompts are answered in the run's language, whatever the visitors speak.
    assert {pair["language"] for pair in pairs if pair["source"] in ("dataset", "persistent")} == {"de"}


def test_bilingual_visitors_need_a_second_language(experiment: Experiment) -> None:
    inference = experiment.settings.inference.model_copy(update={"system_prompts": {"de": "Fasse dich kurz"}})
    alone = experiment.settings.model_copy(update={"inference": inference})
    with pytest.raises(ExperimentRefusedError, match="no language beside de"):
        check_experiment(dataclasses.replace(experiment, settings=alone, visitors="bilingual"), resume=False)


@pytest.mark.process
def test_a_life_follows_from_its_seed_whatever_became_of_those_before(
    life: PlayedLife,
    play: Play,
    bench: LaboratoryResources,
    experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A finished seed stays, an interrupted one begins anew, and one that cannot go on is told."""
    learn = bench.trainer.train

    def spoiled(job: Any, watcher: Any) -> Any:
        if job.previous is not None and "seed-2" in str(job.folder):
            raise TrainingSpoiledError("loss nan")
        return learn(job, watcher)

    monkeypatch.setattr(bench.trainer, "train", spoiled)
    shutil.copytree(life.folder, experiment.out / "seed-3")
    stamp = (experiment.out / "seed-3" / "run.json").read_bytes()
    _, store = runs.create_run(experiment.out, "seed-2", "de", experiment.settings, "laboratory")
    store.close()
    outcome = play(seeds=(3, 2, 1))
    assert (experiment.out / "seed-3" / "run.json").read_bytes() == stamp
    assert [len(lines) for lines in outcome.lines.values()] == [4, 2, 4]
    shown = capsys.readouterr().err
    assert "seed 2 was interrupted" in shown and "seed 3 was interrupted" not in shown
    assert outcome.end_reasons.keys() == {2} and "round 1 came to nothing: loss nan" in outcome.end_reasons[2]
    verdicts = judge(outcome.lines[2], 3)
    assert verdicts["never NaN"][1] is False and verdicts["distinct-2 left"][1] is None
    # The same words; numbers may differ in their last digits, since answers are computed together as they happen to arrive.
    for line, before in zip(without_clock(outcome.lines[1]), without_clock(life.outcome.lines[1]), strict=True):
        without_panel = {name: value for name, value in before.items() if not name.startswith("panel_")}
        assert line == pytest.approx(without_panel, rel=1e-5) and without_panel != before
    first, again, other = (
        rows(folder, "SELECT prompt, answer, entropy FROM pairs")
        for folder in (life.folder, experiment.out / "seed-1", experiment.out / "seed-2")
    )
    assert [pair.pop("entropy") for pair in again] == pytest.approx([pair.pop("entropy") for pair in first], rel=1e-5)
    assert again == first
    assert [(pair["prompt"], pair["answer"]) for pair in other] != [
        (pair["prompt"], pair["answer"]) for pair in first[: len(other)]
    ]


@pytest.mark.process
def test_replacing_trains_on_the_newest_iteration_alone(play: Play, experiment: Experiment) -> None:
    play(keeping="replace")
    folder = experiment.out / "seed-1"
    iterations = {pair["pair"]: pair["iteration"] for pair in rows(folder, "SELECT pair, iteration FROM pairs")}
    trained = [
        {iterations[pair] for pair in json.loads(round_["pairs"])}
        for round_ in rows(folder, "SELECT pairs FROM rounds")
    ]
    assert trained == [{-1}, {-1}, {0}]


@pytest.mark.process
def test_accumulating_offers_every_dataset_answer_again(mixed_life: PlayedLife) -> None:
    folder = mixed_life.folder
    of_round = {pair["pair"]: pair["for_round"] for pair in rows(folder, "SELECT pair, for_round FROM pairs")}
    last = json.loads(rows(folder, "SELECT pairs FROM rounds WHERE iteration = 2")[0]["pairs"])
    # Round 2 has no dataset of its own.
    assert {of_round[pair] for pair in last} & {0, 1}


@pytest.mark.process
def test_a_share_of_the_samples_is_human(mixed_life: PlayedLife) -> None:
    folder = mixed_life.folder
    human_pairs = rows(folder, "SELECT pair, answer, iteration FROM pairs WHERE dataset = 'human'")
    assert [pair["answer"] for pair in human_pairs] == ["Ein Mensch.", "Hier."]
    assert {pair["iteration"] for pair in human_pairs} == {HUMAN_ITERATION}
    numbers = {pair["pair"] for pair in human_pairs}
    for round_ in rows(folder, "SELECT pairs FROM rounds"):
        pairs = json.loads(round_["pairs"])
        assert sum(pair in numbers for pair in pairs) == round(len(pairs) / 2)


@pytest.mark.slow
def test_the_understudys_generator_writes_in_the_language_and_by_its_seed() -> None:
    pairs = generate_human_pairs("en", 20, 3)
    assert len(pairs) == 20 and all(prompt.strip() and answer.strip() for prompt, answer in pairs)
    assert pairs == generate_human_pairs("en", 20, 3) != generate_human_pairs("en", 20, 4)
    assert real_share([answer for _, answer in pairs], "en") > 0.9


def pairs_of(bench: LaboratoryResources, experiment: Experiment, tmp_path: Path) -> PairGenerator:
    _, store = runs.create_run(tmp_path, "pairs", "de", experiment.settings, "laboratory")
    return PairGenerator(
        experiment, 1, store, bench.answer_generator(experiment.settings), lambda task, done, total: None
    )


def run_here(loop: asyncio.AbstractEventLoop, work: Awaitable[Result]) -> Result:
    return loop.run_until_complete(work)


def test_facts_are_the_share_that_is_right(
    bench: LaboratoryResources, experiment: Experiment, tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    exam_questions = [types.SimpleNamespace(prompt=f"Was ist {number}?", language="de") for number in range(8)]
    draws: list[tuple[str, int]] = []

    marks = iter(["right", "wrong", "no_answer", "right"] * 4)

    class FakeExamination(types.ModuleType):
        def draw_questions(self, language: str, number: int) -> list[Any]:
            draws.append((language, number))
            return exam_questions

        def mark(self, question: Any, answer: str) -> str:
            return next(marks)

    examination = FakeExamination("examination")
    pairs = pairs_of(bench, experiment, tmp_path)
    assert run_here(loop, evaluation.examination_share(experiment, pairs, examination)) == 0.5
    assert run_here(loop, evaluation.examination_share(experiment, pairs, examination)) == 0.5
    assert draws == [("de", 150)]


def test_the_base_models_loss_is_of_the_answers_tokens(
    bench: LaboratoryResources, experiment: Experiment, tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    import torch

    pairs = pairs_of(bench, experiment, tmp_path)
    requests = [pairs.single_request(prompt, visitor=True) for prompt in PANEL["de"][:3]]
    answers = run_here(loop, pairs.answer(requests, "test"))
    model: Any = bench.trainer.model
    total, count = 0.0, 0
    with torch.no_grad(), model.disable_adapter():
        for answer in answers:
            ids = answer.prompt + answer.tokens
            logprobs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], dim=-1)
            labels = [IGNORED] * len(answer.prompt) + list(answer.tokens)
            for place in range(1, len(ids)):
                # Training masks the end token; this measure counts it.
                if labels[place] != IGNORED:
                    total, count = total - float(logprobs[place - 1, ids[place]]), count + 1
    assert evaluation.base_loss(bench, answers) == pytest.approx(total / count, rel=1e-4)


def test_a_stations_conversation_is_seen_within_the_window(
    bench: LaboratoryResources,
    experiment: Experiment,
    tmp_path: Path,
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = pairs_of(bench, experiment, tmp_path)
    message_counts: list[int] = []
    generate = pairs._generator.generate

    async def counting_generate(requests: Any, *more: Any) -> list[GeneratedAnswer]:
        message_counts.extend(len(request.messages) for request in requests)
        return await generate(requests, *more)

    monkeypatch.setattr(pairs._generator, "generate", counting_generate)
    run_here(loop, pairs.play_visitors(0))
    pairs.iteration = 2
    run_here(loop, pairs.play_visitors(1))
    assert message_counts == [2, 4, 2, 2, 2, 2] + [2] * 6


@pytest.mark.slow
def test_measures_of_texts() -> None:
    def answer(text: str) -> GeneratedAnswer:
        return GeneratedAnswer(text, (1,), (2,), 0.5)

    measures = measure_answers([answer("Der Hund ist ein Tier."), answer("der dog dog"), answer("")], "de")
    assert measures["empty"] == pytest.approx(1 / 3) and measures["ended"] == pytest.approx(1 / 3)
    assert measures["length"] == pytest.approx(8 / 3) and measures["entropy"] == 0.5
    assert measures["real_words"] == pytest.approx(6 / 8) and measures["foreign_words"] == pytest.approx(2 / 8)
    assert measures["repetition"] == pytest.approx(1 / 8)
    assert (
        ends_with_sentence("„So ist es.“ ")
        and ends_with_sentence('He said: "No!"')
        and not ends_with_sentence("und dann,")
        and not ends_with_sentence("")
    )


def real_share(texts: list[str], language: str) -> float:
    shares = word_shares(texts, language)
    assert shares is not None
    return shares.real


def test_words_are_judged_whatever_their_case_and_numbers_are_none() -> None:
    assert real_share(["katze KATZE Sprichwörter 42 xqzt"], "de") == 0.75
    assert real_share(["I don’t know"], "en") == 1.0
    assert word_shares(["la vie"], "fr") is None and word_shares(["42"], "de") is None
    assert real_share(["brot" * 400], "de") == 0.0


def test_purposes_draw_from_sources_of_their_own() -> None:
    assert seeded_random(1, "a").random() == seeded_random(1, "a").random()
    purposes: list[tuple[int, str] | tuple[int, str, int]] = [(1, "a"), (2, "a"), (1, "b"), (1, "a", 1)]
    assert len({seeded_random(*source).random() for source in purposes}) == 4


def imagined_life(real: float, facts: float, distinct: float, empty: float = 0.0) -> list[MeasuresLine]:
    middle = {"real_words": real, "facts": facts, "distinct_2": 0.8, "empty": 0.0, "ended": 1.0}
    return [{"iteration": number, **middle} for number in (-1, 0, 1)] + [
        {"iteration": 2, "real_words": 0.2, "facts": 0.1, "distinct_2": distinct, "empty": empty, "ended": 0.6}
    ]


def test_the_arc_is_judged_by_its_criteria() -> None:
    assert all(met for _, met in judge(imagined_life(0.98, 0.75, 0.26), 3).values())
    bad = judge(imagined_life(0.96, 0.6, 0.3, empty=0.02), 3)
    assert [name for name, (_, met) in bad.items() if not met] == [
        "words 0, 1",
        "facts 0, 1",
        "distinct-2 left",
        "never empty",
    ]
    grammar = imagined_life(0.98, 0.75, 0.26)
    grammar[2]["ended"] = 0.3
    assert [name for name, (_, met) in judge(grammar, 3).items() if not met] == ["facts first"]
    spoiled = imagined_life(0.98, 0.75, 0.26)
    del spoiled[3]["real_words"]  # as `finite_in_order` does with values that are not finite
    assert [name for name, (_, met) in judge(spoiled, 3).items() if not met] == ["never NaN"]


def test_another_experiments_folder_is_refused(play: Play, experiment: Experiment, capsys: Any) -> None:
    write_description(experiment)
    assert main(["collapse", "--rounds", "1", "--out", str(experiment.out), "--resume"]) == 2
    assert "holds another experiment" in capsys.readouterr().err
