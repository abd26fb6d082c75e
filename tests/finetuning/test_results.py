"""What a finetune leaves, used: passages go on, merged models hold no older records, and the model card's commands run."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.finetuning.test_finetune import run, settings_of, tiny, words  # noqa: F401 - fixtures
from wmkml.__main__ import main
from wmkml.adapters.files import CONFIG_FILE
from wmkml.dialogue.chat_template import load_tokenizer, prompt_ids
from wmkml.dialogue.templates import load_template, render_sample, use_template
from wmkml.finetuning.output import ANSWERS_FILE, CARD_FILE, SERVED_RANKS
from wmkml.finetuning.settings import FinetuneSettings, LoraSettings
from wmkml.finetuning.voices.merging import copy_beside
from wmkml.generation.sources import find_source, with_adapter
from wmkml.generation.speaker import load_speakers


@pytest.mark.slow
def test_what_passages_teach_is_asked_as_a_passage_begins(tiny: Path, tmp_path: Path) -> None:  # noqa: F811
    (story := tmp_path / "story.txt").write_text("Es war ein Haus am Ende der Straße.\n\nNiemand wohnte darin.\n" * 4)
    arguments = ["--model", str(tiny), "--data", str(story), "--format", "text", "--passage-length", "60"]
    out = tmp_path / "out"
    assert main(["finetune", *arguments, "--epochs", "1", "--out", str(out)]) == 0
    assert "| template | none" in (out / CARD_FILE).read_text(encoding="utf-8")
    tuned, base = load_speakers([with_adapter("", out), find_source(str(tiny))], device="cpu")
    tokenizer = load_tokenizer(tiny, needs_template=False)
    passage = render_sample(tokenizer, [{"role": "assistant", "content": "Es war"}]).ids[:-1]
    question = [{"role": "user", "content": "Es war"}]
    assert tuned.prompt_ids(question, 8).ids == base.prompt_ids(question, 8).ids == passage
    # Other programs, which read the template, ask alike.
    use_template(tokenizer, load_template(out))
    assert prompt_ids(tokenizer, question) == list(passage)


@pytest.mark.slow
def test_a_model_that_was_merged_twice_has_its_own_records(tiny: Path, words: Path, tmp_path: Path) -> None:  # noqa: F811
    settings = settings_of(tiny, words, tmp_path / "first", merge=True, epochs=1)
    first = run(settings).folder
    for full in (False, True):
        again = replace(settings, model=first, model_name=str(first), full=full, merge=not full, epochs=2)
        folder = run(replace(again, out=tmp_path / f"second-{full}")).folder
        assert json.loads((folder / "run.json").read_text())["finetune"]["epochs"] == 2
        assert len((folder / "losses.jsonl").read_text().splitlines()) == 4
        assert len((folder / ANSWERS_FILE).read_text().splitlines()) == 8, "four before and four after"
        assert load_tokenizer(folder).chat_template == load_template(folder).jinja
    (copied := tmp_path / "copied").mkdir()
    copy_beside(first, copied)
    assert not {path.name for path in copied.iterdir()} & {"run.json", "run.sqlite", "losses.jsonl", CARD_FILE}


@pytest.mark.slow
def test_the_commands_of_the_model_card_are_such_as_run(
    tiny: Path,  # noqa: F811
    words: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", str(tiny), "--data", str(words), "--epochs", "1", "--compared", "0", "--lora-rank", "12"]
    assert main(["finetune", *arguments, "--out", "voice"]) == 0
    card = Path("voice", CARD_FILE).read_text(encoding="utf-8")
    commands = re.search(r"```bash\n(.*?)```", card, re.DOTALL)
    assert commands
    lines = commands[1].replace("\\\n", " ").splitlines()
    prefix = "python -m wmkml "
    of_project = [shlex.split(line.removeprefix(prefix), comments=True) for line in lines if line.startswith(prefix)]
    assert [command[0] for command in of_project] == ["generate", "merge"]
    for command in of_project:
        assert main([*command, *(["--max-tokens", "2"] if command[0] == "generate" else [])]) == 0, command
    assert (tmp_path / "MERGED" / "config.json").is_file()
    served = next(shlex.split(line) for line in lines if line.startswith("vllm"))
    assert int(served[served.index("--max-lora-rank") + 1]) == 16 and 16 in SERVED_RANKS
    assert json.loads(Path("voice", CONFIG_FILE).read_text())["base_model_name_or_path"] == str(tiny)


def test_an_adapter_names_its_base_as_others_know_it(tmp_path: Path) -> None:
    fetched = FinetuneSettings(tmp_path / "org--name", "org/name", ("a",), tmp_path, lora=LoraSettings())
    assert fetched.base_name == "org/name"
    assert replace(fetched, model=tmp_path / "org" / "name").base_name == str(tmp_path / "org" / "name")
