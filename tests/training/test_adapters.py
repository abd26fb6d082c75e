"""Rounds of training continue from the named adapter and leave a whole adapter or none."""

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
from transformers import AutoModelForCausalLM

from tests.training.tiny_model import base_of, make_tiny_model, trainer_of
from tests.training.tiny_rounds import RecordingWatcher, job, tensors
from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from wmkml.adapters.probe import PROBE_FILE, Probe, read_probe
from wmkml.training.adapter_writer import FolderGoneError, unfinished_folder, write_adapter
from wmkml.training.loop import NullWatcher, TrainingDroppedError
from wmkml.training.lora import AdapterBrokenError, lora_parameters
from wmkml.training.probe import PROBE_TEXT, PROBE_TOKENS
from wmkml.training.rounds import PreviousAdapter, RoundTrainer
from wmkml.training.samples import tokenize_pair


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- rounds ---------------------------------------------------------------------------------------------------------


def test_round_0_begins_at_the_base_model_every_time(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder, dropout=0.05)
    first = trainer.train(job(tmp_path / "one"), NullWatcher())
    trainer.train(
        job(tmp_path / "between", seed=8, previous=PreviousAdapter(first.folder, first.sha256)), NullWatcher()
    )
    second = trainer.train(job(tmp_path / "two"), NullWatcher())
    assert same(tensors(tmp_path / "one"), tensors(tmp_path / "two"))
    assert first.sha256 == second.sha256
    assert not same(tensors(tmp_path / "one"), tensors(tmp_path / "between"))


def test_an_adapter_comes_with_what_its_trainer_measures_on_the_probe(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder, dropout=0.05)
    first = trainer.train(job(tmp_path / "0"), NullWatcher())
    # In a new worker, which reads the adapter from disk.
    second = trainer_of(model_folder).train(
        job(tmp_path / "1", previous=PreviousAdapter(first.folder, first.sha256)), NullWatcher()
    )
    probes = [read_probe(first.folder), read_probe(second.folder)]
    assert probes[0] is not None and probes[1] is not None
    assert len(probes[0].tokens) == PROBE_TOKENS == len(probes[0].base) + 1
    assert probes[0].base == probes[0].previous == probes[1].base != probes[0].adapter
    assert probes[1].previous == pytest.approx(probes[0].adapter, abs=1e-5)
    base = base_of(model_folder)
    ids = torch.tensor([probes[0].tokens])
    for probe, folder in zip(probes, (first.folder, second.folder), strict=True):
        assert probe is not None
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), folder).eval()
        with torch.no_grad():
            rows = torch.log_softmax(model(ids).logits[0], dim=-1)
        expected = [float(rows[place][token]) for place, token in enumerate(probe.tokens[1:])]
        assert probe.adapter == pytest.approx(expected, abs=1e-4)
    assert base.tokenizer.decode(probes[0].tokens, skip_special_tokens=True) in PROBE_TEXT


def test_a_round_goes_on_from_the_adapter_it_names(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    first = trainer.train(job(tmp_path / "0"), NullWatcher())
    named = PreviousAdapter(first.folder, first.sha256)
    trainer.train(job(tmp_path / "in memory", previous=named), NullWatcher())
    # Now another adapter is in memory, so the weights must be read from disk, as in a new worker.
    trainer.train(job(tmp_path / "from disk", previous=named), NullWatcher())
    trainer_of(model_folder).train(job(tmp_path / "new worker", previous=named), NullWatcher())
    expected = tensors(tmp_path / "in memory")
    assert same(tensors(tmp_path / "from disk"), expected)
    assert same(tensors(tmp_path / "new worker"), expected)
    assert not same(expected, tensors(first.folder))


def test_weights_of_a_failed_round_are_not_gone_on_from(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder, samples_per_step=2)
    first = trainer.train(job(tmp_path / "0"), NullWatcher())
    named = PreviousAdapter(first.folder, first.sha256)
    with pytest.raises(TrainingDroppedError):
        trainer.train(job(tmp_path / "dropped", previous=named), RecordingWatcher(stop_after=2))
    trainer.train(job(tmp_path / "again", previous=named), NullWatcher())
    undisturbed = trainer_of(model_folder, samples_per_step=2)
    undisturbed.train(job(tmp_path / "expected", previous=named), NullWatcher())
    assert same(tensors(tmp_path / "again"), tensors(tmp_path / "expected"))


def test_a_previous_adapter_that_is_not_the_accepted_one_is_refused(model_folder: Path, tmp_path: Path) -> None:
    first = trainer_of(model_folder).train(job(tmp_path / "0"), NullWatcher())
    trainer = trainer_of(model_folder)
    with pytest.raises(AdapterBrokenError, match="sha256"):
        trainer.train(job(tmp_path / "1", previous=PreviousAdapter(first.folder, "0" * 64)), NullWatcher())
    with pytest.raises(AdapterBrokenError, match="cannot be read"):
        trainer.train(job(tmp_path / "1", previous=PreviousAdapter(tmp_path / "nowhere", first.sha256)), NullWatcher())
    wrong = {name: torch.zeros(3, 3) for name in tensors(first.folder)}
    save_file(wrong, first.folder / WEIGHTS_FILE)
    sha256 = hashlib.sha256((first.folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    with pytest.raises(AdapterBrokenError, match="shape"):
        trainer.train(job(tmp_path / "1", previous=PreviousAdapter(first.folder, sha256)), NullWatcher())
    assert not (tmp_path / "1").exists()


# --- adapters -------------------------------------------------------------------------------------------------------


def test_an_adapter_is_pefts_own(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    done = trainer.train(job(tmp_path / "adapter"), NullWatcher())
    assert sorted(path.name for path in done.folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE, PROBE_FILE]
    assert hashlib.sha256((done.folder / WEIGHTS_FILE).read_bytes()).hexdigest() == done.sha256

    base = base_of(model_folder)
    ids = torch.tensor([tokenize_pair(base.tokenizer, "Was ist Brot?", "Brot.", 512, "text").ids])
    with torch.no_grad():
        untouched = base.model(input_ids=ids).logits
        loaded = PeftModel.from_pretrained(base.model, str(done.folder)).eval()(input_ids=ids).logits
        trained = trainer.model.eval()(input_ids=ids).logits
    assert torch.allclose(loaded, trained, atol=1e-6)
    assert not torch.allclose(loaded, untouched, atol=1e-3)


def spoil(trainer: RoundTrainer, value: float) -> None:
    with torch.no_grad():
        next(iter(lora_parameters(trainer.model).values()))[0, 0] = value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_written(model_folder: Path, tmp_path: Path, value: float) -> None:
    trainer = trainer_of(model_folder)
    trainer.train_weights(job(tmp_path / "adapter"), NullWatcher())
    spoil(trainer, value)
    with pytest.raises(AdapterBrokenError, match="not finite"):
        trainer.save_adapter(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_finite_weights_with_which_the_model_is_not_finite_are_not_written(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    trainer.train_weights(job(tmp_path / "adapter"), NullWatcher())
    with torch.no_grad():
        for parameter in lora_parameters(trainer.model).values():
            parameter.fill_(1e30)
    with pytest.raises(AdapterBrokenError, match="logits"):
        trainer.save_adapter(tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_an_adapters_folder_is_never_written_twice(model_folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(model_folder)
    before = trainer.train(job(tmp_path / "adapter"), NullWatcher())
    with pytest.raises(AdapterBrokenError, match="exists already"):
        trainer.train(job(tmp_path / "adapter", seed=2), NullWatcher())
    assert hashlib.sha256((before.folder / WEIGHTS_FILE).read_bytes()).hexdigest() == before.sha256


NO_PROBE = Probe((), (), (), ())

WRITES_AND_WAITS = """
import sys, time
from pathlib import Path
from tests.training.tiny_model import PAIRS, trainer_of
from wmkml.training.loop import NullWatcher
from wmkml.training.rounds import TrainingRound
from wmkml.training.adapter_writer import write_adapter
model, folder = map(Path, sys.argv[1:])
trainer = trainer_of(model)
trainer.train_weights(TrainingRound(PAIRS, 0.003, 1, None, folder), NullWatcher())
def probe():
    print("written, not in place", flush=True)
    time.sleep(600)
write_adapter(trainer.model, folder, probe)
"""


@pytest.mark.process
def test_a_writer_killed_on_the_way_leaves_no_adapter_and_does_not_bar_the_next(
    model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_AND_WAITS, str(model_folder), str(folder)], cwd=root, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written, not in place\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert not folder.exists()
    assert unfinished_folder(folder).is_dir(), "it was killed in the middle of it"

    done = trainer_of(model_folder).train(job(folder), NullWatcher())
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest() == done.sha256


def test_an_error_of_the_last_look_leaves_nothing(model_folder: Path, tmp_path: Path) -> None:
    def fails() -> Probe:
        assert not (tmp_path / "adapter").exists()
        raise AdapterBrokenError("no")

    with pytest.raises(AdapterBrokenError, match="no"):
        write_adapter(trainer_of(model_folder).model, tmp_path / "adapter", fails)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_made_again_that_went_away_before(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderGoneError):
        write_adapter(trainer_of(model_folder).model, tmp_path / "gone" / "adapter", lambda: NO_PROBE)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_made_again_that_went_away_meanwhile(model_folder: Path, tmp_path: Path) -> None:
    adapters = tmp_path / "run" / "adapters"
    adapters.mkdir(parents=True)

    def end_run() -> Probe:
        shutil.rmtree(tmp_path / "run")
        return NO_PROBE

    with pytest.raises(FolderGoneError):
        write_adapter(trainer_of(model_folder).model, adapters / "adapter", end_run)
    assert list(tmp_path.iterdir()) == []
