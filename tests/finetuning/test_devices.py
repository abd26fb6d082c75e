"""A finetune on two processes of the CPU, as on two GPUs: what one of them learns, saved and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.finetuning.test_finetune import lines_of, run, settings_of, tiny, words  # noqa: F401 - fixtures
from tests.warm_processes import MODEL, warm_children
from wmkml.__main__ import main
from wmkml.adapters.files import WEIGHTS_FILE
from wmkml.finetuning.checkpoint import CHECKPOINT_FILE
from wmkml.finetuning.control import Interruption
from wmkml.finetuning.devices import finetune_on_devices
from wmkml.finetuning.preparation import estimate
from wmkml.finetuning.preparation.prepare import begin_folder, prepare
from wmkml.finetuning.session import Finetuned
from wmkml.finetuning.settings import FinetuneRefusedError, FinetuneSettings, LoraSettings

WITHOUT_DROPOUT = LoraSettings(rank=4, alpha=8, dropout=0.0)


@pytest.fixture(scope="module", autouse=True)
def warm_ranks() -> Iterator[None]:
    """Processes need not import everything anew; tests/training/test_ranks.py has some that do."""
    with warm_children(MODEL):
        yield


def run_on_two(settings: FinetuneSettings, asked: Interruption, *, resume: bool = False) -> Finetuned:
    with closing(prepare(settings)) as preparation:
        prediction = estimate.Prediction(estimate.Memory(0, 0, 0, 0), 1, None, preparation.steps)
        begin_folder(preparation, prediction, resume=resume)
        return finetune_on_devices(preparation, asked, resume=resume)


@pytest.fixture(scope="module")
def expected(tiny: Path, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:  # noqa: F811
    """What one device learns."""
    return run(settings_of(tiny, words, tmp_path_factory.mktemp("alone") / "out", lora=WITHOUT_DROPOUT))


def assert_the_same(folder: Path, expected: Finetuned) -> None:
    steps = lines_of(folder / "losses.jsonl")
    # Written once, by the first process.
    assert [line["step"] for line in steps] == list(range(1, len(expected.losses) + 1))
    assert [line["loss"] for line in steps] == pytest.approx(list(expected.losses), abs=1e-5)
    held_out = [line["loss"] for line in lines_of(folder / "held_out.jsonl")]
    assert held_out == pytest.approx([evaluation.loss for evaluation in expected.held_out], abs=1e-5)
    of_one, of_both = load_file(expected.folder / WEIGHTS_FILE), load_file(folder / WEIGHTS_FILE)
    assert of_one.keys() == of_both.keys()
    for name, weights in of_one.items():
        torch.testing.assert_close(of_both[name], weights, atol=1e-4, rtol=0)


@pytest.mark.process
def test_two_devices_learn_what_one_learns_also_after_ctrl_c(
    tiny: Path,  # noqa: F811
    words: Path,  # noqa: F811
    expected: Finetuned,
    tmp_path: Path,
) -> None:
    settings = settings_of(tiny, words, tmp_path / "together", lora=WITHOUT_DROPOUT, devices=2)
    stopped = run_on_two(settings, Interruption(wanted=True))  # as by Ctrl-C while the ranks still load
    assert not stopped.done and len(stopped.losses) == 1 < len(expected.losses)
    assert (settings.out / CHECKPOINT_FILE).is_file()
    result = run_on_two(settings, Interruption(), resume=True)
    assert result.done
    assert_the_same(settings.out, expected)


@pytest.mark.process
def test_the_command_divides_a_model_between_two_devices(
    tiny: Path,  # noqa: F811
    words: Path,  # noqa: F811
    expected: Finetuned,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--model", str(tiny), "--data", str(words), "--epochs", "3", "--learning-rate", "0.01"]
    arguments += ["--lora-rank", "4", "--lora-alpha", "8", "--lora-dropout", "0", "--compared", "1"]
    arguments += ["--devices", "2", "--parallel", "fsdp", "--out", str(tmp_path / "out")]
    assert main(["finetune", *arguments]) == 0
    assert_the_same(tmp_path / "out", expected)
    steps = len(expected.losses)
    assert capfd.readouterr().err.count(f"step {steps} of {steps}") == 1, "one process alone tells how it goes"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"devices": -1}, "--devices: -1"),
        ({"parallel": "fsdp", "full": True}, "--full trains all"),
        ({"parallel": "fsdp", "quantize": "nf4"}, "in nf4 are whole"),
        ({"device": "mps", "devices": 2}, "--device mps names a single device, and --devices wants several"),
    ],
)
def test_what_devices_cannot_do_is_refused(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FinetuneRefusedError, match=sentence):
        settings_of(tmp_path, tmp_path, tmp_path, **changed).check()
