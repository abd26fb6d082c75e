"""The loop without services: whole small lives of a random model, and what is refused, repeated, mixed and measured."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import types
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks.arc import judged
from tests.engine_fixtures import make_model
from wmkml.__main__ import main
from wmkml.choosing import NOBODY
from wmkml.cluster.arguments import PROJECT
from wmkml.collapse.dictionaries import shares
from wmkml.collapse.texts import distinct_n
from wmkml.config import Settings, load_settings
from wmkml.laboratory import measuring
from wmkml.laboratory.bench import Bench, started
from wmkml.laboratory.experiment import MEASURED, Experiment, ExperimentRefused, check, describe, drawing
from wmkml.laboratory.human import write_human
from wmkml.laboratory.measures import ends, measured
from wmkml.laboratory.pairs import Pairs
from wmkml.laboratory.playing import PLOT, SUMMARY, play_on
from wmkml.laboratory.progress import Progress
from wmkml.laboratory.report import Line, Outcome, read_lines
from wmkml.laboratory.speaking import Answer
from wmkml.runs import folder as runs
from wmkml.training.loop import TrainingSpoiled
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
    # The same arithmetic on every machine.
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
def bench(settings: Settings, loop: asyncio.AbstractEventLoop) -> Iterator[Bench]:
    standing = started(settings, Path(settings.general.model_name))
    yield loop.run_until_complete(standing.__aenter__())
    loop.run_until_complete(standing.__aexit__(None, None, None))


Play = Callable[..., Outcome]


@pytest.fixture
def experiment(settings: Settings, tmp_path: Path) -> Experiment:
    model = Path(settings.general.model_name)
    out = tmp_path / "out"
    return Experiment(settings, model, PROJECT / "Datasets", "de", (1,), "quiet", out, measured=4)


@pytest.fixture
def play(bench: Bench, experiment: Experiment, loop: asyncio.AbstractEventLoop) -> Play:
    def playing(**changes: Any) -> Outcome:
        one = dataclasses.replace(experiment, **changes)
        describe(one)
        return loop.run_until_complete(play_on(bench, one, Progress()))

    return playing


def rows(folder: Path, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / "run.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def without_clock(lines: list[Line]) -> list[Line]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_life_leaves_a_run_folder_of_the_documented_form(play: Play, experiment: Experiment) -> None:
    outcome = play()
    folder = experiment.out / "seed-1"
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert (about["kind"], about["language"], about["laboratory"]["seed"]) == ("laboratory", "de", 1)
    [run] = rows(folder, "SELECT * FROM run")
    assert (run["phase"], run["iteration"]) == ("waiting", 2)
    rounds = rows(folder, "SELECT * FROM rounds")
    assert [one["status"] for one in rounds] == ["accepted"] * 3
    assert [len(json.loads(one["pairs"])) for one in rounds] == [8, 9, 10]
    assert [one["learning_rate"] for one in rounds] == pytest.approx([0.0015, 0.0014, 0.0013])
    assert len(rows(folder, "SELECT * FROM adapters")) == 3
    assert all((folder / "adapters" / f"iteration-{number}-attempt-1").is_dir() for number in range(3))
    steps = [json.loads(line) for line in (folder / "losses.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["iteration"] for one in steps if one["step"] == 1] == [0, 1, 2]
    lines = read_lines(folder)
    assert [line["iteration"] for line in lines] == [-1, 0, 1, 2] == [line["round"] - 1 for line in lines]
    assert {"distinct_2", "distinct_2_first", "entropy", "real_words", "base_loss"} <= set(lines[0])
    said = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["iteration"] for one in said] == [
        number for number in (-1, 0, 1, 2) for _ in range(experiment.measured)
    ]
    of_base = [one["answer"] for one in said if one["iteration"] == -1]
    assert distinct_n(of_base) == lines[0]["distinct_2"]
    assert {one["prompt"] for one in said} == set(MEASURED[experiment.language][: experiment.measured])
    assert {"loss_first", "loss_last"} <= set(lines[1])
    assert lines == outcome.lines[1]
    assert (experiment.out / PLOT).read_bytes().startswith(b"\x89PNG")
    assert json.loads((experiment.out / SUMMARY).read_text(encoding="utf-8"))["mean"]["distinct_2"].keys() == {
        "-1",
        "0",
        "1",
        "2",
    }


def test_visitors_speak_to_the_iteration_before_while_a_round_trains(play: Play, experiment: Experiment) -> None:
    play()
    folder = experiment.out / "seed-1"
    said = rows(folder, "SELECT source, iteration, count(*) n FROM pairs GROUP BY source, iteration")
    counts = {(one["source"], one["iteration"]): one["n"] for one in said}
    # Nothing is said while the last round trains: no round would learn from it.
    assert {key for key in counts if key[0] == "visitor"} == {("visitor", -1), ("visitor", 0)}
    assert counts["visitor", 0] == 2 and counts["echo", 0] == 4
    assert counts["persistent", -1] == 2 and counts["persistent", 2] == 1
    assert {key[1] for key in counts if key[0] == "dataset"} == {-1}
    live = {one["pair"]: one["iteration"] for one in rows(folder, "SELECT pair, iteration FROM pairs")}
    for one in rows(folder, "SELECT iteration, pairs FROM rounds"):
        assert max(live[pair] for pair in json.loads(one["pairs"])) <= max(-1, one["iteration"] - 2)


def test_every_other_station_of_bilingual_visitors_speaks_the_other_language(
    play: Play, experiment: Experiment
) -> None:
    play(visitors="bilingual")
    said = rows(experiment.out / "seed-1", "SELECT source, station, language, prompt FROM pairs")
    by_station = {one["station"]: one["language"] for one in said if one["source"] == "visitor"}
    assert by_station == {f"visitor-{number}": "en" if number % 2 == 0 else "de" for number in range(1, 7)}
    for language in ("de", "en"):
        prompts = {one["prompt"] for one in said if one["source"] == "visitor" and one["language"] == language}
        assert prompts and prompts <= set(experiment.visitors_prompts(language))
        echoed = {one["prompt"] for one in said if one["source"] == "echo" and one["language"] == language}
        assert echoed == prompts
    # The datasets are asked for in the run's language, as they are with any visitors.
    assert {one["language"] for one in said if one["source"] in ("dataset", "persistent")} == {"de"}


def test_bilingual_visitors_need_a_second_language(experiment: Experiment) -> None:
    inference = experiment.settings.inference.model_copy(update={"system_prompts": {"de": "Fasse dich kurz"}})
    alone = experiment.settings.model_copy(update={"inference": inference})
    with pytest.raises(ExperimentRefused, match="no language beside de"):
        check(dataclasses.replace(experiment, settings=alone, visitors="bilingual"), resume=False)


def test_a_life_follows_from_its_seed(play: Play, experiment: Experiment, tmp_path: Path) -> None:
    first = play(seeds=(1, 2), visitors="talkative")
    again = play(seeds=(2,), visitors="talkative", out=tmp_path / "again")
    assert without_clock(first.lines[2]) == without_clock(again.lines[2])
    texts = "SELECT prompt, answer, entropy FROM pairs"
    assert rows(experiment.out / "seed-2", texts) == rows(tmp_path / "again" / "seed-2", texts)
    assert rows(experiment.out / "seed-1", texts) != rows(experiment.out / "seed-2", texts)


def test_replacing_trains_on_the_newest_iteration_alone(play: Play, experiment: Experiment) -> None:
    play(keeping="replace")
    folder = experiment.out / "seed-1"
    iterations = {one["pair"]: one["iteration"] for one in rows(folder, "SELECT pair, iteration FROM pairs")}
    trained = [
        {iterations[pair] for pair in json.loads(one["pairs"])} for one in rows(folder, "SELECT pairs FROM rounds")
    ]
    assert trained == [{-1}, {-1}, {0}]


def test_accumulating_offers_every_dataset_answer_again(play: Play, experiment: Experiment) -> None:
    play(keeping="accumulate")
    folder = experiment.out / "seed-1"
    of_round = {one["pair"]: one["for_round"] for one in rows(folder, "SELECT pair, for_round FROM pairs")}
    last = json.loads(rows(folder, "SELECT pairs FROM rounds WHERE iteration = 2")[0]["pairs"])
    # Round 2 has no dataset of its own.
    assert {of_round[pair] for pair in last} & {0, 1}


def test_a_share_of_the_samples_is_human(play: Play, experiment: Experiment, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    human.write_text("prompt,answer\nWer bist du?,Ein Mensch.\nWo bist du?,\nUnd jetzt?,Hier.\n", encoding="utf-8")
    play(human_share=0.5, human=human)
    folder = experiment.out / "seed-1"
    brought = rows(folder, "SELECT pair, answer, iteration FROM pairs WHERE dataset = 'human'")
    assert [one["answer"] for one in brought] == ["Ein Mensch.", "Hier."]
    assert {one["iteration"] for one in brought} == {NOBODY}
    numbers = {one["pair"] for one in brought}
    for one in rows(folder, "SELECT pairs FROM rounds"):
        pairs = json.loads(one["pairs"])
        assert sum(pair in numbers for pair in pairs) == round(len(pairs) / 2)


def test_the_understudys_generator_writes_in_the_language_and_by_its_seed() -> None:
    pairs = write_human("en", 20, 3)
    assert len(pairs) == 20 and all(prompt.strip() and answer.strip() for prompt, answer in pairs)
    assert pairs == write_human("en", 20, 3) != write_human("en", 20, 4)
    assert shares([answer for _, answer in pairs], "en").real > 0.9  # type: ignore[union-attr]


def test_an_interrupted_seed_begins_anew_and_a_finished_one_stays(
    play: Play, experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    play(seeds=(1,))
    stamp = (experiment.out / "seed-1" / "run.json").read_bytes()
    _, store = runs.make(experiment.out, "seed-2", "de", experiment.settings, "laboratory")
    store.close()
    outcome = play(seeds=(1, 2))
    assert (experiment.out / "seed-1" / "run.json").read_bytes() == stamp
    assert [len(lines) for lines in outcome.lines.values()] == [4, 4]
    assert "seed 2 was interrupted" in capsys.readouterr().err


def test_a_life_that_cannot_go_on_is_told_and_the_next_begins(
    play: Play, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = bench.trainer.train

    def spoiled(job: Any, watcher: Any) -> Any:
        if job.previous is not None and "seed-1" in str(job.folder):
            raise TrainingSpoiled("loss nan")
        return learn(job, watcher)

    monkeypatch.setattr(bench.trainer, "train", spoiled)
    outcome = play(seeds=(1, 2))
    assert outcome.ended.keys() == {1} and "round 1 came to nothing: loss nan" in outcome.ended[1]
    assert [len(lines) for lines in outcome.lines.values()] == [2, 4]
    verdicts = judged(outcome.lines[1], 3)
    assert verdicts["never NaN"][1] is False and verdicts["distinct-2 left"][1] is None


def pairs_of(bench: Bench, experiment: Experiment, tmp_path: Path) -> Pairs:
    _, store = runs.make(tmp_path, "pairs", "de", experiment.settings, "laboratory")
    return Pairs(experiment, 1, store, bench.speaker(experiment.settings), lambda what, done, of: None)


def run_here(loop: asyncio.AbstractEventLoop, work: Awaitable[Result]) -> Result:
    return loop.run_until_complete(work)  # type: ignore[arg-type]


def test_facts_are_the_share_that_is_right(
    bench: Bench, experiment: Experiment, tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    examination = types.ModuleType("examination")
    asked = [types.SimpleNamespace(prompt=f"Was ist {number}?", language="de") for number in range(8)]
    heard: list[tuple[str, int]] = []

    def questions(language: str, number: int) -> list[Any]:
        heard.append((language, number))
        return asked

    examination.questions = questions  # type: ignore[attr-defined]
    marks = iter(["right", "wrong", "no_answer", "right"] * 4)
    examination.mark = lambda question, answer: next(marks)  # type: ignore[attr-defined]
    pairs = pairs_of(bench, experiment, tmp_path)
    assert run_here(loop, measuring.facts(experiment, pairs, examination)) == 0.5
    assert run_here(loop, measuring.facts(experiment, pairs, examination)) == 0.5
    assert heard == [("de", 150)]


def test_the_base_models_loss_is_of_the_answers_tokens(
    bench: Bench, experiment: Experiment, tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    import torch

    pairs = pairs_of(bench, experiment, tmp_path)
    asked = [pairs.alone(prompt, visitor=True) for prompt in MEASURED["de"][:3]]
    answers = run_here(loop, pairs.answers(asked, "test"))
    model: Any = bench.trainer.model
    total, count = 0.0, 0
    with torch.no_grad(), model.disable_adapter():
        for answer in answers:
            ids = answer.prompt + answer.tokens
            logprobs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], dim=-1)
            labels = [IGNORED] * len(answer.prompt) + list(answer.tokens)
            for place in range(1, len(ids)):
                # The end token is learnt nowhere, and is a target here: ending is part of speaking.
                if labels[place] != IGNORED:
                    total, count = total - float(logprobs[place - 1, ids[place]]), count + 1
    assert measuring.base_loss(bench, answers) == pytest.approx(total / count, rel=1e-4)


def test_a_stations_conversation_is_seen_within_the_window(
    bench: Bench,
    experiment: Experiment,
    tmp_path: Path,
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = pairs_of(bench, experiment, tmp_path)
    seen: list[int] = []
    ask = pairs._speaker.answers

    async def watched(asked: Any, *more: Any) -> list[Answer]:
        seen.extend(len(one.messages) for one in asked)
        return await ask(asked, *more)

    monkeypatch.setattr(pairs._speaker, "answers", watched)
    run_here(loop, pairs.visit(0))
    pairs.iteration = 2
    run_here(loop, pairs.visit(1))
    assert seen == [2, 4, 2, 2, 2, 2] + [2] * 6


def test_measures_of_texts() -> None:
    def answer(text: str) -> Answer:
        return Answer(text, (1,), (2,), 0.5)

    found = measured([answer("Der Hund ist ein Tier."), answer("der dog dog"), answer("")], "de")
    assert found["empty"] == pytest.approx(1 / 3) and found["ended"] == pytest.approx(1 / 3)
    assert found["length"] == pytest.approx(8 / 3) and found["entropy"] == 0.5
    assert found["real_words"] == pytest.approx(6 / 8) and found["foreign_words"] == pytest.approx(2 / 8)
    assert found["repetition"] == pytest.approx(1 / 8)
    assert ends("„So ist es.“ ") and ends('He said: "No!"') and not ends("und dann,") and not ends("")


def test_words_are_judged_whatever_their_case_and_numbers_are_none() -> None:
    assert shares(["katze KATZE Sprichwörter 42 xqzt"], "de").real == 0.75  # type: ignore[union-attr]
    assert shares(["I don’t know"], "en").real == 1.0  # type: ignore[union-attr]
    assert shares(["la vie"], "fr") is None and shares(["42"], "de") is None
    assert shares(["brot" * 400], "de").real == 0.0  # type: ignore[union-attr]


def test_purposes_draw_from_sources_of_their_own() -> None:
    assert drawing(1, "a").random() == drawing(1, "a").random()
    assert len({drawing(*one).random() for one in [(1, "a"), (2, "a"), (1, "b"), (1, "a", 1)]}) == 4


def life(real: float, facts: float, distinct: float, empty: float = 0.0) -> list[Line]:
    middle = {"real_words": real, "facts": facts, "distinct_2": 0.8, "empty": 0.0, "ended": 1.0}
    return [{"iteration": number, **middle} for number in (-1, 0, 1)] + [
        {"iteration": 2, "real_words": 0.2, "facts": 0.1, "distinct_2": distinct, "empty": empty, "ended": 0.6}
    ]


def test_the_arc_is_judged_by_its_criteria() -> None:
    assert all(met for _, met in judged(life(0.98, 0.75, 0.26), 3).values())
    bad = judged(life(0.96, 0.6, 0.3, empty=0.02), 3)
    assert [name for name, (_, met) in bad.items() if not met] == [
        "words 0, 1",
        "facts 0, 1",
        "distinct-2 left",
        "never empty",
    ]
    grammar = life(0.98, 0.75, 0.26)
    grammar[2]["ended"] = 0.3
    assert [name for name, (_, met) in judged(grammar, 3).items() if not met] == ["facts first"]
    spoiled = life(0.98, 0.75, 0.26)
    del spoiled[3]["real_words"]  # as `ordered` leaves out what is no number
    assert [name for name, (_, met) in judged(spoiled, 3).items() if not met] == ["never NaN"]


def test_another_experiments_folder_is_refused(play: Play, experiment: Experiment, capsys: Any) -> None:
    describe(experiment)
    assert main(["collapse", "--rounds", "1", "--out", str(experiment.out), "--resume"]) == 2
    assert "holds another experiment" in capsys.readouterr().err
