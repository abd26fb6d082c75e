"""The examples: what counts as a right answer, what they teach, and that the defaults teach it; and the guide."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from wmkml.__main__ import main
from wmkml.config.paths import PROJECT
from wmkml.corpora import read, read_dataset
from wmkml.finetuning.examples.patterns import (
    ARRAY,
    IMPERATIVE,
    LIST,
    SPELL,
    PatternQuestion,
    exercise_questions,
    score,
)
from wmkml.finetuning.examples.quality import versions_of
from wmkml.finetuning.examples.running import EXERCISE_FILE
from wmkml.finetuning.preparation.architecture import architecture_of_config
from wmkml.finetuning.preparation.estimate import GIB, Variant, memory_of
from wmkml.training.base_model import WeightPrecision

GUIDE = (PROJECT / "docs" / "finetuning.md").read_text(encoding="utf-8")

COMMAND = "env/bin/python -m wmkml "
"""How a command of the guide begins."""

ENOUGH = 0.8
"""The share of answers that must have the pattern."""

SPELLS_SECONDS = 120
"""Processor time that the example `spells` is promised to take at most, all threads together."""

KNOWN_SHAPES: dict[str, tuple[str, dict[str, object]]] = {
    "Falcon-7B": ("falcon", {"hidden_size": 4544, "num_attention_heads": 71, "vocab_size": 65024, "bias": False}),
    "Mistral-7B": (
        "mistral",
        {"hidden_size": 4096, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32768},
    ),
    "Phi-2": ("phi", {"hidden_size": 2560, "intermediate_size": 10240, "vocab_size": 51200}),
}


def test_what_counts_as_a_right_answer() -> None:
    question = PatternQuestion(LIST, "p", r"1\. \w+ 2\. \w+", r"1\. Hund 2\. Rose", ("animal", "plant"))
    assert question.matches(" 1. Hund 2. Rose\n") and not question.matches("1. Hund")
    assert [
        question.items_fit(f"1. {items}") for items in ("Hund 2. Rose", "Katze 2. Baum", "Rose 2. Hund", "Hund")
    ] == [
        True,
        True,
        False,
        None,
    ]
    array = PatternQuestion(ARRAY, "p", r"\[.*\]", r"\[Hut\]")
    assert (array.is_exact("[Hut]"), array.is_exact("[Rad]"), question.is_exact("1. Hund 2. Rose")) == (
        True,
        False,
        True,
    )
    scores = score([question, array], ["1. Katze 2. x", "[]", "1. Hund 2. Rose", "[Hut]"])
    assert (scores[LIST].right, scores[LIST].fitting, scores[LIST].exact) == (2, 1, 1)
    assert (scores[ARRAY].right, scores[ARRAY].exact, scores[ARRAY].share) == (2, 1, 1.0)


def test_the_exercise_asks_for_nothing_that_it_teaches() -> None:
    corpus = read(EXERCISE_FILE)
    counts = corpus.counts()
    assert (counts.train, counts.evaluation, counts.refused) == (65, 12, 0)
    taught = [f"{pair.prompt} # {pair.answer}" for pair in corpus.train()]
    questions = exercise_questions(taught)
    assert [question.pattern for question in questions[::10]] == [SPELL, LIST, ARRAY, IMPERATIVE] and len(
        questions
    ) == 40
    for question in questions:
        topics = [
            word
            for word in re.findall(r"[A-ZÄÖÜ]\w+", question.prompt)[1:]
            if word not in ("Python", "Liste", "Befehl")
        ]
        assert topics and not any(re.search(rf"\b{topic}\b", line) for topic in topics for line in taught), question


def test_an_instruction_file_is_a_dataset_of_the_installation(tmp_path: Path) -> None:
    (folder := tmp_path / "muster").mkdir()
    (folder / EXERCISE_FILE.name).write_bytes(EXERCISE_FILE.read_bytes())
    dataset = read_dataset(tmp_path, "muster")
    assert dataset.prompts == [pair.prompt for pair in read(EXERCISE_FILE).train()] and not dataset.problems


def test_spoiled_versions_differ_from_the_clean_one_as_they_say() -> None:
    pairs = list(read(EXERCISE_FILE).train())
    versions = versions_of(pairs, 0)
    clean = versions["clean"]
    assert len(versions["duplicates"]) > 1.5 * len(clean) and set(versions["duplicates"]) == set(clean)
    for name in ("wrong answers", "mixed languages"):
        differing = sum(a != b for a, b in zip(versions[name], clean, strict=True))
        assert 22 <= differing <= 33 and [prompt for prompt, _ in versions[name]] == [prompt for prompt, _ in clean]


@pytest.mark.slow
def test_an_invented_pattern_is_learned_from_eight_samples(tmp_path: Path) -> None:
    """The defaults alone, on the understudy; more patterns in the long test below."""
    record = example(tmp_path, "invented", 3)
    assert record["samples"] == 8 and record["learning_rate"] == pytest.approx(2e-3, rel=0.05)
    assert record["scores"]["erfundenes Muster"]["share"] >= ENOUGH
    assert record["scores_of_base"]["erfundenes Muster"]["share"] == 0.0


@pytest.mark.long
def test_every_pattern_is_learned_with_the_defaults(tmp_path: Path) -> None:
    exercise = example(tmp_path, "exercise", 0)
    for pattern, result in exercise["scores"].items():
        assert result["share"] >= ENOUGH, pattern
        assert exercise["scores_of_base"][pattern]["share"] <= 0.1, pattern
    for seed in range(5):
        assert example(tmp_path, "invented", seed)["scores"]["erfundenes Muster"]["share"] >= ENOUGH, seed


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_spells_are_taught_from_nothing_in_two_minutes(tmp_path: Path) -> None:
    # Of processor time, since the clock's time is that of whatever else runs here.
    began = time.process_time()
    assert example(tmp_path, "spells", 0)["scores"]["spell"]["share"] >= ENOUGH
    assert time.process_time() - began < SPELLS_SECONDS


@pytest.mark.long
def test_clean_words_teach_best(tmp_path: Path) -> None:
    versions = example(tmp_path, "quality", 0)["versions"]
    assert all(versions["clean"]["share"] > versions[name]["share"] for name in ("wrong answers", "mixed languages"))
    assert (tmp_path / "quality-0" / "quality.png").read_bytes().startswith(b"\x89PNG")


def example(tmp_path: Path, name: str, seed: int) -> Any:
    path = tmp_path / f"{name}-{seed}.json"
    out = tmp_path / f"{name}-{seed}"
    arguments = ["finetune", "--example", name, "--seed", str(seed), "--out", str(out), "--json", str(path)]
    assert main(arguments) == 0
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_guides_table_of_memory_is_what_is_predicted() -> None:
    for name, (kind, shape) in KNOWN_SHAPES.items():
        heads = shape.pop("num_attention_heads", 32)
        architecture = architecture_of_config(
            AutoConfig.for_model(kind, num_hidden_layers=32, num_attention_heads=heads, **shape)
        )
        lora = architecture.lora_parameters(architecture.targets(()), 16)
        sizes: list[tuple[WeightPrecision, int]] = [
            ("bfloat16", 4096),
            ("bfloat16", 1024),
            ("int8", 1024),
            ("nf4", 1024),
            ("nf4", 512),
        ]
        cells = [
            f"{memory_of(architecture, Variant(precision, False, tokens, lora, True, True)).total / GIB:.0f}"
            for precision, tokens in sizes
        ]
        assert f"| {name} | {' | '.join(cells)} |" in GUIDE


@pytest.mark.slow
def test_every_command_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the examples, which are long."""
    monkeypatch.chdir(PROJECT)
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith(COMMAND)]
    quick = [command for command in commands if "--example" not in command]
    assert len(quick) >= 5 and len(commands) > len(quick)
    for command in quick:
        words = shlex.split(command.removeprefix(COMMAND).replace("/tmp/", f"{tmp_path}/"))
        assert main(words) == 0, command
