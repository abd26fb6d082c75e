"""An artist's voice: `--adapter` merges an adapter into the base before anything starts, once."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.tiny_model import base_of, make_tiny_model
from wmkml.cli import cluster
from wmkml.config import ConfigError, load_settings
from wmkml.config.arguments import ResolvedSettings
from wmkml.config.paths import paths_of
from wmkml.finetuning.voices.voice import with_voice
from wmkml.training.adapter_writer import write_lora_into
from wmkml.training.lora import LoraShape, lora_parameters, wrap_with_lora


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def voice(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = wrap_with_lora(base_of(base), LoraShape(4, 8, 0.0, ("q_proj", "v_proj")))
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(0.0, 0.3)
    folder = tmp_path_factory.mktemp("voices") / "spells"
    folder.mkdir()
    write_lora_into(model, folder)
    return folder


def resolved_of(base: Path, data: Path) -> ResolvedSettings:
    settings = load_settings(None, model=str(base), overrides={"general.data_folder": str(data)})
    return ResolvedSettings(settings, data, ())


@pytest.mark.process
def test_a_voice_is_merged_once_and_becomes_the_model(
    base: Path, voice: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from peft import PeftModel

    resolved = with_voice(resolved_of(base, tmp_path), voice, None)
    folder = paths_of(resolved.settings, resolved.root).model
    assert folder.parent == tmp_path / "voices" and folder.name.startswith("spells-")
    assert any("iteration −1" in notice for notice in resolved.notices)
    ids = torch.tensor([list(range(30, 70))])
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(base)
        before = plain(ids).logits
        tuned = PeftModel.from_pretrained(plain, str(voice))(ids).logits
    assert torch.allclose(merged, tuned, atol=1e-4) and not torch.allclose(merged, before, atol=1e-2)
    assert "Merging" in capfd.readouterr().out

    assert with_voice(resolved_of(base, tmp_path), voice, None).settings == resolved.settings
    assert "Merging" not in capfd.readouterr().out
    changed = shutil.copytree(voice, tmp_path / "spells")
    config = json.loads((changed / "adapter_config.json").read_text())
    (changed / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 1}))
    assert with_voice(resolved_of(base, tmp_path), changed, None).settings != resolved.settings


def test_what_is_no_adapter_is_refused(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        with_voice(resolved_of(base, tmp_path), tmp_path / "nowhere", None)
    parser = argparse.ArgumentParser()
    cluster.add_arguments(parser)
    arguments = parser.parse_args(["--plan", "--adapter", str(base), "--model", str(base)])
    assert cluster.main(arguments) == 2
    assert "holds no adapter_config.json" in capsys.readouterr().err
