"""What a round of training goes on from and what it leaves: adapters that are whole or absent."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file

from tests.tiny_model import base_of, make_tiny_model, trainer_of
from tests.tiny_rounds import Listener, job, tensors
from wmkml.training.loop import TrainingDropped, Unwatched
from wmkml.training.lora import CONFIG_FILE, WEIGHTS_FILE, AdapterBroken, weights
from wmkml.training.rounds import Previous, RoundTrainer
from wmkml.training.samples import tokens_of
from wmkml.training.writing import PlaceGone, unfinished_folder, write_adapter


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- rounds ---------------------------------------------------------------------------------------------------------


def test_round_0_begins_at_the_base_model_every_time(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder, dropout=0.05)
    first = trainer.train(job(tmp_path / "one"), Unwatched())
    trainer.train(job(tmp_path / "between", seed=8, previous=Previous(first.folder, first.sha256)), Unwatched())
    again = trainer.train(job(tmp_path / "two"), Unwatched())
    assert same(tensors(tmp_path / "one"), tensors(tmp_path / "two"))
    assert first.sha256 == again.sha256
    assert not same(tensors(tmp_path / "one"), tensors(tmp_path / "between"))


def test_a_round_goes_on_from_the_adapter_it_names(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    first = trainer.train(job(tmp_path / "0"), Unwatched())
    named = Previous(first.folder, first.sha256)
    trainer.train(job(tmp_path / "in memory", previous=named), Unwatched())
    # The weights in memory are now another adapter's: these must come from the disk, as in a worker just started.
    trainer.train(job(tmp_path / "from disk", previous=named), Unwatched())
    trainer_of(model_folder).train(job(tmp_path / "new worker", previous=named), Unwatched())
    expected = tensors(tmp_path / "in memory")
    assert same(tensors(tmp_path / "from disk"), expected)
    assert same(tensors(tmp_path / "new worker"), expected)
    assert not same(expected, tensors(first.folder))


def test_weights_of_a_failed_round_are_not_gone_on_from(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder, samples_per_step=2)
    first = trainer.train(job(tmp_path / "0"), Unwatched())
    named = Previous(first.folder, first.sha256)
    with pytest.raises(TrainingDropped):
        trainer.train(job(tmp_path / "dropped", previous=named), Listener(stop_after=2))
    trainer.train(job(tmp_path / "again", previous=named), Unwatched())
    other = trainer_of(model_folder, samples_per_step=2)
    other.train(job(tmp_path / "expected", previous=named), Unwatched())
    assert same(tensors(tmp_path / "again"), tensors(tmp_path / "expected"))


def test_a_previous_adapter_that_is_not_the_accepted_one_is_refused(model_folder: Path, tmp_path: Path) -> None:
    first = trainer_of(model_folder).train(job(tmp_path / "0"), Unwatched())
    fresh = trainer_of(model_folder)
    with pytest.raises(AdapterBroken, match="sha256"):
        fresh.train(job(tmp_path / "1", previous=Previous(first.folder, "0" * 64)), Unwatched())
    with pytest.raises(AdapterBroken, match="cannot be read"):
        fresh.train(job(tmp_path / "1", previous=Previous(tmp_path / "nowhere", first.sha256)), Unwatched())
    wrong = {name: torch.zeros(3, 3) for name in tensors(first.folder)}
    save_file(wrong, first.folder / WEIGHTS_FILE)
    sha256 = hashlib.sha256((first.folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    with pytest.raises(AdapterBroken, match="shape"):
        fresh.train(job(tmp_path / "1", previous=Previous(first.folder, sha256)), Unwatched())
    assert not (tmp_path / "1").exists()


# --- adapters -------------------------------------------------------------------------------------------------------


def test_an_adapter_is_pefts_own(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    done = trainer.train(job(tmp_path / "adapter"), Unwatched())
    assert sorted(path.name for path in done.folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    assert hashlib.sha256((done.folder / WEIGHTS_FILE).read_bytes()).hexdigest() == done.sha256

    base = base_of(model_folder)
    ids = torch.tensor([tokens_of(base.tokenizer, "Was ist Brot?", "Brot.", 512, "text").ids])
    with torch.no_grad():
        untouched = base.model(input_ids=ids).logits
        loaded = PeftModel.from_pretrained(base.model, str(done.folder)).eval()(input_ids=ids).logits
        ours = trainer.model.eval()(input_ids=ids).logits
    assert torch.allclose(loaded, ours, atol=1e-6)
    assert not torch.allclose(loaded, untouched, atol=1e-3)


def spoil(trainer: RoundTrainer, value: float) -> None:
    with torch.no_grad():
        next(iter(weights(trainer.model).values()))[0, 0] = value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(model_folder: Path, tmp_path: Path, value: float) -> None:
    trainer = trainer_of(model_folder)
    trainer.learn(job(tmp_path / "adapter"), Unwatched())
    spoil(trainer, value)
    with pytest.raises(AdapterBroken, match="not finite"):
        trainer.put_down(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_finite_weights_with_which_the_model_is_not_finite_are_not_written(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    trainer.learn(job(tmp_path / "adapter"), Unwatched())
    with torch.no_grad():
        for parameter in weights(trainer.model).values():
            parameter.fill_(1e30)
    with pytest.raises(AdapterBroken, match="logits"):
        trainer.put_down(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_an_adapters_folder_is_never_written_twice(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    before = trainer.train(job(tmp_path / "adapter"), Unwatched())
    with pytest.raises(AdapterBroken, match="exists already"):
        trainer.train(job(tmp_path / "adapter", seed=2), Unwatched())
    assert hashlib.sha256((before.folder / WEIGHTS_FILE).read_bytes()).hexdigest() == before.sha256


WRITES_AND_WAITS = """
import sys, time
from pathlib import Path
from tests.tiny_model import PAIRS, trainer_of
from wmkml.training.loop import Unwatched
from wmkml.training.rounds import Round
from wmkml.training.writing import write_adapter
model, folder = map(Path, sys.argv[1:])
trainer = trainer_of(model)
trainer.learn(Round(PAIRS, 0.003, 1, None, folder), Unwatched())
def probe():
    print("written, not in place", flush=True)
    time.sleep(600)
write_adapter(trainer.model, folder, probe)
"""


def test_a_writer_killed_on_the_way_leaves_no_adapter_and_does_not_bar_the_next(
    model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_AND_WAITS, str(model_folder), str(folder)], cwd=root, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written, not in place\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert not folder.exists()
    assert unfinished_folder(folder).is_dir(), "it was killed in the middle of it"

    done = trainer_of(model_folder).train(job(folder), Unwatched())
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest() == done.sha256


def test_an_error_of_the_last_look_leaves_nothing(model_folder: Path, tmp_path: Path) -> None:
    def fails() -> None:
        assert not (tmp_path / "adapter").exists()
        raise AdapterBroken("no")

    with pytest.raises(AdapterBroken, match="no"):
        write_adapter(trainer_of(model_folder).model, tmp_path / "adapter", fails)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_made_again_that_went_away_before(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PlaceGone):
        write_adapter(trainer_of(model_folder).model, tmp_path / "gone" / "adapter", lambda: None)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_made_again_that_went_away_meanwhile(model_folder: Path, tmp_path: Path) -> None:
    adapters = tmp_path / "run" / "adapters"
    adapters.mkdir(parents=True)
    with pytest.raises(PlaceGone):
        write_adapter(trainer_of(model_folder).model, adapters / "adapter", lambda: shutil.rmtree(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []
