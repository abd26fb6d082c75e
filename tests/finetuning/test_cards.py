"""A dry run for a GPU that is not here: `--memory` reckons with its memory, for the guide's recipes on a laptop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from tests.dialogue.tokenizers_of_kinds import MISTRAL, byte_level
from wmkml.__main__ import main
from wmkml.config.paths import PROJECT

DOLLY = PROJECT / "examples" / "corpora" / "dolly.jsonl"


@pytest.fixture(scope="module")
def falcon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Falcon-7B's shape, with a tokenizer and without its weights, which no dry run reads."""
    folder = tmp_path_factory.mktemp("models") / "falcon-7b"
    tokenizer = byte_level(MISTRAL, [], bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = None
    tokenizer.save_pretrained(str(folder))
    shape = {
        "hidden_size": 4544,
        "num_attention_heads": 71,
        "num_hidden_layers": 32,
        "vocab_size": 65024,
        "bias": False,
    }
    AutoConfig.for_model("falcon", **shape).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize(
    ("arguments", "precision", "gib", "fits"),
    [
        # As the table of docs/finetuning.md has it for so few tokens.
        (["--memory", "24", "--quantize", "nf4"], "nf4", (4, 7), True),
        (["--memory", "24"], "bfloat16", (13, 16), True),
        (["--memory", "12"], "nf4", (4, 7), True),
        (["--memory", "12", "--quantize", "none"], "bfloat16", (13, 16), False),
        (["--memory", "12", "--quantize", "none", "--devices", "4", "--parallel", "fsdp"], "bfloat16", (4, 7), True),
    ],
)
def test_a_recipe_is_reckoned_for_a_card_that_is_not_here(
    falcon: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    precision: str,
    gib: tuple[float, float],
    fits: bool,
) -> None:
    command = ["finetune", "--model", str(falcon), "--data", str(DOLLY), "--template", "falcon", "--dry-run"]
    assert main([*command, *arguments, "--json", "-"]) == (0 if fits else 2)
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    predicted = record["predicted"]
    assert record["precision"] == precision and predicted["fits"] is fits and predicted["minutes"] is None
    assert gib[0] < predicted["memory_gib"] < gib[1]
    assert predicted["available_gib"] == pytest.approx(0.92 * float(arguments[1]), abs=0.01)
    assert record["device"] == f"GPU of {arguments[1]} GiB"
    if not fits:
        assert predicted["would_fit"][0]["arguments"].endswith("--quantize nf4")
