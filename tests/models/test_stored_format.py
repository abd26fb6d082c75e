"""Models whose weights are stored in 4 bits: the start is refused where what trains on them is not installed, with the command."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.launcher.plans import machine
from tests.training.tiny_model import make_tiny_model
from wmkml.config import Settings
from wmkml.config.arguments import ResolvedSettings
from wmkml.launcher.launch import CannotStartError, plan_anew, plan_of
from wmkml.models.stored_format import stored_format, training_problem
from wmkml.training.base_model import BaseMissingError, load_base

HERE = [name for name in ("gptqmodel", "optimum") if importlib.util.find_spec(name) is not None]

pytestmark = pytest.mark.skipif(bool(HERE), reason=f"what trains on such weights is installed: {HERE}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose config.json says that its weights are in gptq."""
    folder = make_tiny_model(tmp_path_factory.mktemp("stored") / "models" / "tiny-gptq")
    assert stored_format(folder) is None
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": {"quant_method": "gptq"}}))
    return folder


def refusals(model: str, root: Path, quantization: str = "auto", remote: bool = False) -> list[str]:
    url = {"url": "http://10.0.0.9", "engine": "remote"} if remote else {"engine": "vllm"}
    settings = Settings.model_validate(
        {"general": {"model_name": model}, "inference": {"quantization": quantization, **url}}
    )
    return [text for text in plan_of(ResolvedSettings(settings, root, ()), machine(3)).refusals if "training" in text]


def test_the_start_is_refused_with_the_command(model: Path, tmp_path: Path) -> None:
    for remote in (False, True):
        [problem] = refusals(str(model), tmp_path, remote=remote)
        assert "are in gptq" in problem
        assert "env/bin/python -m pip install optimum gptqmodel;" in problem


def test_the_settings_name_the_format_of_a_model_that_is_not_here_yet(tmp_path: Path) -> None:
    [problem] = refusals("somebody/Some-7B-AWQ", tmp_path, "awq")
    assert "env/bin/python -m pip install gptqmodel;" in problem
    assert refusals("somebody/Some-7B", tmp_path, "fp8") == []


def test_what_was_downloaded_is_looked_at_again(model: Path, tmp_path: Path) -> None:
    settings = Settings.model_validate({"general": {"model_name": str(model)}, "inference": {"engine": "vllm"}})
    plan = plan_of(ResolvedSettings(settings, tmp_path, ()), machine(3))
    with pytest.raises(CannotStartError, match="optimum gptqmodel"):
        plan_anew(plan)


def test_the_worker_says_it_too(model: Path) -> None:
    with pytest.raises(BaseMissingError, match="optimum gptqmodel"):
        load_base(model, "auto")


def test_what_cannot_be_read_is_for_others_to_say(tmp_path: Path) -> None:
    for content in ("", "[]", "{", '{"quantization_config": null}'):
        (tmp_path / "config.json").write_text(content)
        assert stored_format(tmp_path) is None
        assert training_problem(tmp_path) is None


def test_what_is_installed_is_not_asked_for(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optimum" else object())
    assert "pip install optimum;" in str(training_problem(model))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert training_problem(model) is None
