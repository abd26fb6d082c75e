"""`python -m wmkml finetune`: what it reads, refuses, trains and leaves, on tiny models of every architecture."""

from __future__ import annotations

import json
import math
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.finetuning.tiny_architectures import SHAPES, USUAL_TARGETS, make_tiny
from wmkml.__main__ import main
from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids
from wmkml.dialogue.templates import load_template, use_template
from wmkml.engine.protocol import Adapter, Generation, Sampling
from wmkml.engine.setup import EngineSetup
from wmkml.engine.transformers_engine import TransformersEngine
from wmkml.finetuning.checkpoint import CHECKPOINT_FILE
from wmkml.finetuning.control import Interruption, interruption
from wmkml.finetuning.preparation import estimate
from wmkml.finetuning.preparation.prepare import begin_folder, prepare
from wmkml.finetuning.progress import LiveLine
from wmkml.finetuning.session import Finetune, Finetuned
from wmkml.finetuning.settings import FinetuneSettings, LoraSettings
from wmkml.generation.answering import answer
from wmkml.generation.decoding import Decoding
from wmkml.generation.probabilities import read_ids
from wmkml.generation.sources import find_source, with_adapter
from wmkml.generation.speaker import load_speakers
from wmkml.runs.store import RunStore
from wmkml.training.loop import OptimizerStep

LINES = [f"Male {thing}. # Hier ist {thing}, ganz rot!" for thing in ("Haus", "Mond", "Brot", "Kind", "Meer", "Hand")]
HELD_OUT = ["Male Mund. # Hier ist Mund, ganz rot!", "Male Wort. # Hier ist Wort, ganz rot!"]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "rot.txt"
    path.write_text("\n".join([*LINES, "# _EVAL_", *HELD_OUT]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("models") / "llama")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def settings_of(model: Path, words: Path, out: Path, **others: Any) -> FinetuneSettings:
    shape = LoraSettings(rank=4, alpha=8, dropout=0.4)
    given = {"epochs": 3, "learning_rate": 0.01, "lora": shape, "compared": 1, **others}
    return FinetuneSettings(model, str(model), (str(words),), out, **given)


def run(settings: FinetuneSettings, *, stop_after: int = 0, resume: bool = False) -> Finetuned:
    """A finetune, interrupted after a step as by Ctrl-C."""
    asked = Interruption()

    class Stopping(LiveLine):
        def step(self, step: OptimizerStep) -> None:
            if step.step == stop_after:
                asked.stop()

    with closing(prepare(settings)) as preparation:
        prediction = estimate.Prediction(estimate.Memory(0, 0, 0, 0), 1, None, preparation.steps)
        begin_folder(preparation, prediction, resume=resume)
        return Finetune(preparation, Stopping(), asked).run(resume=resume)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHAPES)
async def test_every_architecture_is_taught_speaks_and_answers_in_the_engine(
    kind: str, words: Path, tmp_path: Path
) -> None:
    model, out = make_tiny(kind, tmp_path / "model"), tmp_path / "out"
    arguments = ["--model", str(model), "--data", str(words), "--epochs", "2", "--learning-rate", "0.02"]
    assert main(["finetune", *arguments, "--compared", "1", "--out", str(out), "--json", str(tmp_path / "r.json")]) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert (
        set(record["targets"])
        == USUAL_TARGETS[kind]
        == set(json.loads((out / CONFIG_FILE).read_text())["target_modules"])
    )
    assert record["architecture"] == kind and record["template"] == "alpaca"
    assert record["held_out_after"] < record["held_out_before"]

    engine = TransformersEngine(EngineSetup(model, adapters=1, rank=16, dtype="float32"))
    await engine.start()
    try:
        tokenizer = load_tokenizer(model, needs_template=False)
        use_template(tokenizer, load_template(out))
        ids = tuple(prompt_ids(tokenizer, [{"role": "user", "content": "Male Mund."}]))
        voice = Adapter("voice", 1, out)
        await engine.load(voice)
        tokens = [
            [step.token async for step in engine.generate(Generation(name, ids, Sampling(0.0, max_tokens=6), adapter))]
            for name, adapter in (("base", None), ("voice", voice))
        ]
        # By what it finds likely: a tiny model may say the same token for ever, taught or not.
        untaught, taught = [(await engine.log_probabilities(ids, adapter))[0] for adapter in (None, voice)]
        assert max(abs(before - after) for before, after in zip(untaught, taught, strict=True)) > 0.01
        # `generate` says the same, asked in the same template, and finds it as likely.
        base, tuned = load_speakers([find_source(str(model)), with_adapter("", out)], device="cpu")
        for speaker, adapter, engine_ids in ((base, None, tokens[0]), (tuned, voice, tokens[1])):
            question = [{"role": "user", "content": "Male Mund."}]
            (spoken,) = answer(speaker, question, Decoding(max_tokens=6, temperature=0.0))
            assert spoken.prompt_ids == ids and list(spoken.ids) == engine_ids
            both = [*ids, *spoken.ids]
            reading = read_ids(speaker, both, ["template"] * len(ids) + ["answer"] * len(spoken.ids))
            (logprobs,) = await engine.log_probabilities(both, adapter)
            probabilities = [token.probability for token in reading.shown]
            assert probabilities == pytest.approx([math.exp(value) for value in logprobs[len(ids) - 1 :]], rel=2e-3)
    finally:
        await engine.stop()


@pytest.mark.slow
def test_a_finetune_leaves_a_run_folder(
    tiny: Path, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "voice"
    arguments = ["finetune", "--model", str(tiny), "--data", str(words), "--epochs", "2", "--out", str(out)]
    assert main([*arguments, "--template", "anweisung", "--lora-targets", "attention"]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "Anweisung: Male Haus.",
        "Hier ist Haus, ganz rot!</s>",
        "before and after",
        "predicted",
        "2 to evaluate",
    ):
        assert expected in shown
    losses, held_out = lines_of(out / "losses.jsonl"), lines_of(out / "held_out.jsonl")
    assert [line["step"] for line in losses] == [1, 2, 3, 4] and [line["step"] for line in held_out] == [0, 2, 4]
    assert json.loads((out / "run.json").read_text())["kind"] == "finetune"
    with closing(RunStore(out / "run.sqlite")) as store:
        row = store.run()
        assert row is not None and (row.iteration, row.phase) == (0, "waiting")
    assert {line["iteration"] for line in lines_of(out / "answers.jsonl")} == {-1, 0}
    assert (out / "losses.png").read_bytes().startswith(b"\x89PNG")
    card = (out / "README.md").read_text()
    assert "| template | anweisung" in card and f"--adapter {out}" in card
    assert not (out / CHECKPOINT_FILE).exists()
    assert main([*arguments]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_finetune_goes_on_with_the_same_losses(tiny: Path, words: Path, tmp_path: Path) -> None:
    settings = settings_of(tiny, words, tmp_path / "whole", evaluate_every=2, patience=50)
    whole = run(settings)
    parts = replace(settings, out=tmp_path / "parts")
    begun = run(parts, stop_after=3)
    assert not begun.done and len(begun.losses) == 3
    with pytest.raises(ValueError, match="begun with another learning_rate"):
        run(replace(parts, learning_rate=0.5), resume=True)
    # A line that was written after the checkpoint, as a crash leaves it.
    with (parts.out / "losses.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 9}\n')
    resumed = run(parts, resume=True)
    assert resumed.done and resumed.losses == whole.losses and resumed.held_out == whole.held_out
    for name in ("losses.jsonl", "held_out.jsonl"):
        assert lines_of(parts.out / name) == lines_of(settings.out / name)
    tensors = load_file(settings.out / WEIGHTS_FILE)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(parts.out / WEIGHTS_FILE).items())


def test_ctrl_c_asks_once_and_ends_twice() -> None:
    asked, before = list[str](), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruption(lambda: asked.append("first")) as wanted:
        signal.raise_signal(signal.SIGINT)
        assert wanted.wanted and asked == ["first"]
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.slow
def test_accumulated_and_packed_batches_learn_what_plain_ones_do(tiny: Path, words: Path, tmp_path: Path) -> None:
    shape = LoraSettings(rank=4, alpha=8, dropout=0.0)
    settings = settings_of(tiny, words, tmp_path / "plain", lora=shape)
    plain = run(settings).losses
    variants: list[dict[str, Any]] = [
        {"batch_size": 2, "accumulation": 2},
        {"packing": "on"},
        {"micro_batch_tokens": 1},
    ]
    for number, changed in enumerate(variants):
        others = run(replace(settings, out=tmp_path / str(number), **changed)).losses
        assert others == pytest.approx(plain, abs=2e-4), changed


@pytest.mark.slow
def test_merged_and_whole_models_stand_alone(tiny: Path, words: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    adapter = run(settings_of(tiny, words, tmp_path / "adapter")).folder
    assert main(["merge", str(adapter), "--model", str(tiny), "--out", str(tmp_path / "by-command")]) == 0
    merged = run(settings_of(tiny, words, tmp_path / "merged", merge=True)).folder
    full = run(settings_of(tiny, words, tmp_path / "full", full=True, merge=True, learning_rate=0.001)).folder
    ids = torch.tensor([list(range(20, 60))])

    def logits(folder: Path) -> torch.Tensor:
        with torch.no_grad():
            values: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(ids).logits
        return values

    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        tuned = PeftModel.from_pretrained(base, str(adapter))(ids).logits
    for folder in (tmp_path / "by-command", merged):
        assert torch.allclose(logits(folder), tuned, atol=1e-4), folder
        assert not (folder / WEIGHTS_FILE).exists()
    assert not torch.allclose(logits(full), logits(tiny), atol=1e-2)
    # The template came along: it is an ordinary chat model now.
    assert load_tokenizer(merged).chat_template == load_tokenizer(full).chat_template == load_template(adapter).jinja


@pytest.mark.slow
def test_training_ends_early_and_keeps_the_best_weights(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "contradiction.txt"
    path.write_text("\n".join(["Sag es. # Ja, ja, ja"] * 8 + ["# _EVAL_", "Sag es. # Nein und nochmals nein"]) + "\n")
    settings = settings_of(tiny, path, tmp_path / "out", epochs=20, patience=2, learning_rate=0.05)
    finetuned = run(settings)
    losses = {evaluation.step: evaluation.loss for evaluation in finetuned.held_out}
    assert finetuned.ended_early is not None and len(finetuned.losses) < 40
    assert losses[finetuned.ended_early] == min(losses.values())


@pytest.mark.slow
def test_dry_run_tells_programs_what_would_be_trained(
    tiny: Path, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["finetune", "--model", str(tiny), "--data", str(words), "--dry-run", "--json", "-"]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    trained = "".join(token["text"] for token in record["first_sample"] if token["trained"])
    assert trained.strip() == "Hier ist Haus, ganz rot!</s>"
    assert record["predicted"]["fits"] and record["predicted"]["minutes"] > 0
    assert (record["samples"], record["evaluation"], record["steps"]) == (6, 2, 40)

    monkeypatch.setattr(estimate, "available_on", lambda device: 10_000_000)
    assert main([*arguments[:-2], "--full", "--micro-batch-tokens", "9999"]) == 2
    shown = capsys.readouterr().out
    assert "It will not fit." in shown and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("Was ist blau?\nWas ist rot?\n", [], "line 1: a prompt without an answer, so there is nothing to learn"),
        ("Es war einmal ein Haus,\nein Haus aus Stein\n", [], "--format text reads the lines of a poem as a text"),
        ("Ein langer Satz. # Ja\n", ["--max-length", "12"], "line 1: what comes before the answer has"),
        ("a # b\n", ["--lora-targets", "q_proj,w_proj"], "has no linear layer named w_proj; it has q_proj"),
        ("a # b\n", ["--template", "nichts"], "There is no template or file nichts"),
        ("a # b\n", ["--template", "chat"], "has no chat template"),
        ("a # b\n", ["--epochs", "0"], "--epochs: 0 is not allowed"),
        ("a # b\n", ["--quantize", "nf4"], "nf4 needs an NVIDIA GPU"),
        ("a # b\n", ["--memory", "24"], "give --dry-run too"),
        ("a # b\n", ["--memory", "0", "--dry-run"], "--memory: 0 is not allowed"),
        ("a # b\n", ["--memory", "inf", "--dry-run"], "--memory: inf is not allowed"),
        ("a # b\n", ["--memory", "24", "--dry-run", "--device", "cpu"], "--device cpu is none"),
        ("a # b\n", ["--full", "--quantize", "nf4"], "Leave one of them out"),
        ("a # b\n", ["--resume"], "holds no checkpoint.pt"),
        ("a # b\n", ["--model", "gibt-es-nicht"], "holds no model"),
        ("a # b\n", ["--hold-out", "1.5"], "The share held out is 1.5"),
        ("a # b\n", ["--passage-length", "0"], "A passage of 0 characters"),
        ("a # b\n", ["--answer-column", "text"], "give --prompt-column or --prompt-template too"),
        ("a # b\n", ["--prompt-column", "a", "--prompt-template", "{a}"], "not both"),
        ("a # b\n", ["--json", "nowhere/x.json"], "nowhere/x.json cannot be written: there is no folder nowhere"),
        ("a # b\n", ["--json", "/"], "/ cannot be written: it is a folder"),
        ("a # [INST]\nb # <s>\n", [], "line 1: chat markup [INST] in the answer"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_spent(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, arguments: list[str], expected: str
) -> None:
    if "nf4 needs" in expected and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (path := tmp_path / "words.txt").write_text(content)
    out = tmp_path / "out"
    assert main(["finetune", "--model", str(tiny), "--data", str(path), "--out", str(out), *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()
