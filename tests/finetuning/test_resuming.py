"""Going on with a finetune: with the same words, on the same kind of device, and with the answers of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.finetuning.test_finetune import run, settings_of, tiny, words  # noqa: F401 - fixtures
from wmkml.finetuning import output
from wmkml.finetuning.checkpoint import load_checkpoint
from wmkml.finetuning.preparation.prepare import prepare
from wmkml.finetuning.settings import FinetuneRefusedError
from wmkml.training.loop import _random_states


@pytest.mark.slow
def test_a_finetune_of_all_weights_that_goes_on_still_shows_before(tiny: Path, words: Path, tmp_path: Path) -> None:  # noqa: F811
    settings = settings_of(tiny, words, tmp_path / "whole", full=True, learning_rate=0.001, epochs=2)
    whole = run(settings)
    parts = replace(settings, out=tmp_path / "parts")
    run(parts, stop_after=2)
    resumed = run(parts, resume=True)
    assert resumed.losses == whole.losses and resumed.before == whole.before and len(resumed.before) == 1
    lines = (parts.out / output.ANSWERS_FILE).read_text().splitlines()
    assert len(lines) == 8, "four answers before and four after"


@pytest.mark.slow
def test_other_words_under_the_same_name_are_refused(tiny: Path, words: Path, tmp_path: Path) -> None:  # noqa: F811
    (own := tmp_path / "own.txt").write_bytes(words.read_bytes())
    settings = settings_of(tiny, own, tmp_path / "out", epochs=2)
    run(settings, stop_after=1)
    preparation = prepare(settings)
    identity = preparation.identity()
    preparation.close()
    load_checkpoint(settings.out, identity)
    with pytest.raises(FinetuneRefusedError, match="begun with another kind of device, optimizer"):
        load_checkpoint(settings.out, {**identity, "kind of device": "cuda", "optimizer": "adamw_8bit"})
    with pytest.raises(FinetuneRefusedError, match="begun with another compared"):
        run(replace(settings, compared=2), resume=True)
    own.write_text(own.read_text(encoding="utf-8").replace("Haus", "Hund"), encoding="utf-8")
    with pytest.raises(FinetuneRefusedError, match="begun with another corpus"):
        run(settings, resume=True)


def test_the_chances_of_apples_gpu_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pretended state: there is no such GPU here."""
    state = torch.tensor([1, 2, 3], dtype=torch.uint8)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state)
    assert torch.equal(_random_states(torch.device("mps"))[1], state)
