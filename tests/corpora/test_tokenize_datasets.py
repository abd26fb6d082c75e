"""`Datasets/tokenize_datasets.py`: counts tokens with the tokenizer of the configured model, and fails if a data set is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.dialogue.tokenizers_of_kinds import byte_level, kinds
from wmkml.__main__ import main
from wmkml.corpora import list_datasets, read_dataset
from wmkml.corpora.token_counts import count_tokens

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ROOT / "Datasets"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and a Mistral-like tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    kinds()["mistral"].save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "mistral"}')
    return folder


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """An installation with two of the shipped sets."""
    (tmp_path / "config.yaml").write_text("general:\n  available_datasets: [alltag_de]\n")
    for name in ("alltag_de", "everyday_en"):
        shutil.copytree(SHIPPED / name, tmp_path / "Datasets" / name)
    return tmp_path


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of the command."""

    status: int
    out: str
    err: str


@pytest.fixture
def check(installation: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """A function that runs the command in this process, to save its imports; the first test runs the script itself."""

    def run(*words: str) -> CommandResult:
        status = main(["datasets", *words, "--config", str(installation / "config.yaml")])
        captured = capsys.readouterr()
        return CommandResult(status, captured.out, captured.err)

    return run


def counts(output: str) -> dict[str, list[str]]:
    """The cells of the printed table by data set."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in output.rpartition("Counted for")[2].splitlines()[2:]]
    return {name: cells for name, *cells in rows}


@pytest.mark.process
def test_the_shipped_sets_pass_and_are_counted_in_the_models_tokens(model: Path) -> None:
    script = [str(SHIPPED / "tokenize_datasets.py"), "--all", "--model", str(model)]
    command = [sys.executable, "-X", "importtime", *script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "tokenizers" in imported and "torch" not in imported
    table = counts(result.stdout)
    tokenizer = AutoTokenizer.from_pretrained(model)
    for name in list_datasets(SHIPPED):
        prompts = read_dataset(SHIPPED, name).prompts
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        lengths = [
            len(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)) for chat in chats
        ]
        mean = f"{sum(lengths) / len(lengths):.1f}"
        assert table[name] == [str(len(prompts)), str(sum(lengths)), mean, str(max(lengths)), "0", "0"]
    assert table["together"][0] == str(sum(len(read_dataset(SHIPPED, n).prompts) for n in list_datasets(SHIPPED)))


def test_the_config_says_which_sets_and_words_say_otherwise(
    installation: Path, model: Path, check: Callable[..., CommandResult]
) -> None:
    assert set(counts(check("--model", str(model)).out)) == {"alltag_de"}
    assert set(counts(check("everyday_en", "--model", str(model)).out)) == {"everyday_en"}
    assert set(counts(check("--all", "--model", str(model)).out)) == {"alltag_de", "everyday_en", "together"}


def test_a_broken_file_is_named_with_its_line_and_the_others_are_counted(
    installation: Path, model: Path, check: Callable[..., CommandResult]
) -> None:
    broken = installation / "Datasets" / "alltag_de" / "more.csv"
    broken.write_bytes("Schön.\n".encode() + b"Gr\xfc\xdfe\n")
    result = check("--all", "--model", str(model))
    assert result.status == 1
    assert f"{broken}, line 2: error: is not UTF-8" in result.out
    table = counts(result.out)
    assert table["alltag_de"][0] == "44" and table["alltag_de"][-2:] == ["1", "0"]
    assert table["everyday_en"][-2:] == ["0", "0"]


def test_warnings_are_told_and_do_not_fail_the_check(
    installation: Path, model: Path, check: Callable[..., CommandResult]
) -> None:
    more = installation / "Datasets" / "alltag_de" / "more.csv"
    more.write_text("Eins.\n\nWenn es regnet, was tust du?\n")
    result = check("--model", str(model))
    assert result.status == 0
    assert f"{more}, line 2: warning" in result.out and f"{more}, line 3: warning" in result.out
    assert counts(result.out)["alltag_de"][-2:] == ["0", "2"]


def test_a_set_that_is_missing_fails_the_check(
    installation: Path, model: Path, check: Callable[..., CommandResult]
) -> None:
    result = check("alltag", "--model", str(model))
    assert result.status == 1 and "there is no such data set; there are: alltag_de, everyday_en" in result.out


def test_without_a_model_the_sets_are_checked_and_it_is_said(
    installation: Path, check: Callable[..., CommandResult]
) -> None:
    result = check("--model", str(installation / "nowhere"))
    assert result.status == 1
    assert "There is no tokenizer in" in result.err and "wmkml download" in result.err
    assert counts(result.out)["alltag_de"] == ["44", "–", "–", "–", "0", "0"]


def test_a_tokenizer_that_cannot_be_read_is_a_sentence(installation: Path, check: Callable[..., CommandResult]) -> None:
    folder = installation / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        (folder / name).write_text("{")
    result = check("--model", str(folder))
    assert result.status == 1
    assert "cannot be read" in result.err


def test_a_folder_without_sets_is_a_sentence(
    installation: Path, model: Path, check: Callable[..., CommandResult]
) -> None:
    shutil.rmtree(installation / "Datasets")
    result = check("--all", "--model", str(model))
    assert result.status == 1 and "There is no data set in" in result.err


def test_a_prompt_that_leaves_no_room_for_an_answer_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    (tmp_path / "long" / "a.csv").write_text(f"Kurz.\n{'sehr ' * 40}lang.\n")
    prepared = count_tokens(read_dataset(tmp_path, "long"), kinds()["bytes"], 32)
    assert [(problem.line, problem.severity) for problem in prepared.problems] == [(2, "warning")]
    assert prepared.tokens[0] < 32 <= prepared.tokens[1] and not prepared.broken


def test_characters_the_tokenizer_does_not_know_are_a_warning(tmp_path: Path) -> None:
    tokenizer = byte_level("{{ messages[0]['content'] }}", [], unk_token="<unk>")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a.csv").write_text("Eins.\n")
    assert count_tokens(read_dataset(tmp_path, "odd"), tokenizer, 512).problems == ()
    tokenizer.backend_tokenizer.model = type(tokenizer.backend_tokenizer.model)(
        vocab={"<unk>": 0, "E": 1}, merges=[], unk_token="<unk>"
    )
    (problem,) = count_tokens(read_dataset(tmp_path, "odd"), tokenizer, 512).problems
    assert (problem.line, problem.severity) == (1, "warning") and "does not know" in problem.text
