"""The config files: an original one runs unchanged, and every mistake is reported by name."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from wmkml.config import UNDERSTUDY, ConfigError, Settings, load_settings, non_default_settings, sections
from wmkml.config.arguments import add_settings_arguments, resolve_arguments
from wmkml.config.paths import paths_of
from wmkml.corpora import read_dataset
from wmkml.engine.choice import choose_engine
from wmkml.launcher.settings_file import with_folders_and_ports, write_settings

ROOT = Path(__file__).parent.parent.parent
ORIGINAL = ROOT / "tests" / "fixtures" / "original_config.yaml"


def parse_arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    return parser.parse_args(words)


def write_config(folder: Path, content: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


# --- our own files ---------------------------------------------------------------------------------------------------


def test_config_yaml_names_every_setting() -> None:
    content = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert list(content) == list(sections())
    for section, model in sections().items():
        assert set(content[section]) == set(model.model_fields)


def test_config_yaml_holds_the_defaults_but_for_the_data_sets() -> None:
    settings = load_settings(ROOT / "config.yaml")
    # What the original does otherwise is off by default, and on in ours.
    against_flooding = {
        "finetuning.similar_prompts_as_one",
        "finetuning.station_share",
        "inference.prompts_per_station",
    }
    assert set(non_default_settings(settings)) == {"finetuning.dataset_array"} | against_flooding
    assert settings.notices() == []


def test_config_yaml_marks_what_the_original_has_not() -> None:
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    added = {
        key
        for model in sections().values()
        for key, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["added"]
    }
    marked: set[str] = set()
    under_mark = False
    for line in lines:
        if line.strip().startswith("#"):
            under_mark = under_mark or "added:" in line
        elif match := re.match(r"  (\w+):", line):
            if match[1] in added:
                assert under_mark or not marked.isdisjoint(added), f"{match[1]} is not marked as added"
                marked.add(match[1])
            else:
                assert not under_mark, f"{match[1]} is the original's and marked as added"
                under_mark = False
        elif re.match(r"\w", line):
            under_mark = False
    assert marked == added


def test_every_data_set_of_config_yaml_is_there() -> None:
    settings = load_settings(ROOT / "config.yaml")
    assert len(settings.finetuning.dataset_array) == settings.finetuning.num_total_iters
    for name in {name for names in settings.finetuning.dataset_array for name in names}:
        assert len(read_dataset(ROOT / "Datasets", name).prompts) >= 40


def test_the_understudys_file_is_laid_over_ours_when_it_runs() -> None:
    settings, understudy_settings = (
        load_settings(ROOT / "config.yaml"),
        load_settings(ROOT / "config.yaml", model=UNDERSTUDY),
    )
    assert understudy_settings.general.model_name == UNDERSTUDY
    assert understudy_settings.finetuning.learning_rate != settings.finetuning.learning_rate
    assert understudy_settings.finetuning.lora_target_modules != settings.finetuning.lora_target_modules
    assert understudy_settings.finetuning.dataset_array == settings.finetuning.dataset_array
    assert understudy_settings.general.owner_port == settings.general.owner_port
    # The learning rate must stay above zero to the last round.
    tuning = understudy_settings.finetuning
    assert tuning.learning_rate + (tuning.num_total_iters - 1) * tuning.learning_rate_increase > 0


# --- an original config.yaml -----------------------------------------------------------------------------------------


def test_an_original_config_loads_with_its_own_meaning() -> None:
    settings = load_settings(ORIGINAL)
    content = yaml.safe_load(ORIGINAL.read_text(encoding="utf-8"))
    for section, values in content.items():
        for key, value in values.items():
            if key == "hf_token":
                assert settings.general.hf_token.get_secret_value() == value
            else:
                assert getattr(getattr(settings, section), key) == value
    assert settings.osc_targets == [("192.168.1.20", 57120)]


def test_an_original_config_differs_from_the_defaults_only_where_it_was_filled_in() -> None:
    filled = {
        "general.hf_token",
        "general.available_datasets",
        "general.osc_port",
        "general.osc_ip",
        "finetuning.dataset_array",
    }
    assert set(non_default_settings(load_settings(ORIGINAL))) == filled


def test_fewer_data_sets_than_iterations_mean_no_backup_words_and_are_told() -> None:
    settings = load_settings(ORIGINAL)
    assert settings.datasets_of(2) == ["sprache_de"]
    assert [settings.datasets_of(number) for number in range(3, 9)] == [[]] * 6
    assert any("3 of 9" in notice and "no backup words" in notice for notice in settings.notices())


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected_parts"),
    [
        ("finetuning: {learning_rat: 0.1}", ["finetuning.learning_rat is not a setting", "did you mean learning_rate?"]),
        ("general: {learning_rate: 0.1}", ["general.learning_rate is not a setting", "it belongs to finetuning.learning_rate"]),
        ("finetunning: {}", ["'finetunning' is no section", "did you mean finetuning?"]),
        ("finetuning: {batch_size: many}", ["finetuning.batch_size", "'many'", "a whole number at least 1"]),
        ("finetuning: {learning_rate: 0}", ["finetuning.learning_rate", "0", "above 0"]),
        ("inference: {engine: fast}", ["inference.engine", "'fast'", "auto, vllm, transformers"]),
        ("inference: {temperature: 3}", ["inference.temperature", "3", "at most 2"]),
        ("general: {osc_ip: 10.0.0.7}", ["general.osc_port", "osc_ip is given"]),
        ("general: {osc_hosts: [10.0.0.7]}", ["general.osc_hosts", "'10.0.0.7'", "address:port"]),
        ("inference: {system_language: fr}", ["inference.system_language", "'fr'", "de, en"]),
        ("finetuning: {persistent_prompt: {de: Hallo}}", ["finetuning.persistent_prompt", "en"]),
        ("general: [1, 2", ["config.yaml, line 1", "not YAML"]),
        ("just words", ["holds no sections"]),
    ],
)  # fmt: skip
def test_a_mistake_names_key_value_and_what_is_allowed(tmp_path: Path, content: str, expected_parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write_config(tmp_path, content))
    for part in expected_parts:
        assert part in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    content = "general: {owner_port: 99999}\nfinetuning: {batch_size: 0, num_total_iters: x}\n"
    with pytest.raises(ConfigError) as caught:
        load_settings(write_config(tmp_path, content))
    assert [key for key in ("owner_port", "batch_size", "num_total_iters") if key in str(caught.value)] == [
        "owner_port", "batch_size", "num_total_iters"]  # fmt: skip


def test_a_wrong_token_is_never_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write_config(tmp_path, "general: {hf_token: [hf_secret]}"))
    assert "hf_secret" not in str(caught.value)


def test_a_mistake_in_the_understudys_file_names_that_file(tmp_path: Path) -> None:
    write_config(tmp_path, "finetuning: {batch_sise: 8}", "config.understudy.yaml")
    with pytest.raises(ConfigError, match=r"config\.understudy\.yaml: finetuning\.batch_sise"):
        load_settings(write_config(tmp_path, "general: {}"), model=UNDERSTUDY)


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(tmp_path / "nowhere.yaml")


# --- the arguments ---------------------------------------------------------------------------------------------------


def test_without_a_gpu_the_understudy_runs_and_it_is_told() -> None:
    resolved = resolve_arguments(parse_arguments("--config", str(ORIGINAL)), gpus=False)
    assert resolved.settings.general.model_name == UNDERSTUDY
    assert any("There is no GPU" in notice for notice in resolved.notices)


def test_an_original_config_elsewhere_gets_the_understudys_own_values_in_place_of_the_larger_models(
    tmp_path: Path,
) -> None:
    path = write_config(tmp_path, ORIGINAL.read_text(encoding="utf-8"))
    given, shipped = load_settings(path), load_settings(ROOT / "config.yaml", model=UNDERSTUDY)
    settings = resolve_arguments(parse_arguments("--config", str(path)), gpus=False).settings
    laid_over = yaml.safe_load((ROOT / "config.understudy.yaml").read_text(encoding="utf-8"))
    for section, values in laid_over.items():
        for key in values:
            assert getattr(getattr(settings, section), key) == getattr(getattr(shipped, section), key)
    assert settings.finetuning.learning_rate != given.finetuning.learning_rate
    assert settings.finetuning.dataset_array == given.finetuning.dataset_array
    own = write_config(tmp_path, "finetuning: {learning_rate: 0.125}", "config.understudy.yaml")
    assert (
        resolve_arguments(parse_arguments("--config", str(path)), gpus=False).settings.finetuning.learning_rate == 0.125
    )
    own.unlink()
    # Settings that the launcher wrote for its processes are used as they are.
    final = parse_arguments("--config", str(path), "--model", UNDERSTUDY)
    assert resolve_arguments(final, gpus=False).settings.finetuning.learning_rate == given.finetuning.learning_rate


def test_with_a_gpu_the_configs_model_runs() -> None:
    resolved = resolve_arguments(parse_arguments("--config", str(ORIGINAL)), gpus=True)
    assert resolved.settings.general.model_name == "mistralai/Mistral-7B-Instruct-v0.3"
    assert resolved.notices == ()


def test_a_model_that_is_asked_for_runs_everywhere() -> None:
    assert (
        resolve_arguments(parse_arguments("--model", "org/other"), gpus=False).settings.general.model_name
        == "org/other"
    )
    assert (
        resolve_arguments(
            parse_arguments("--set", "general.model_name=org/other"), gpus=False
        ).settings.general.model_name
        == "org/other"
    )
    assert (
        resolve_arguments(parse_arguments("--model", UNDERSTUDY), gpus=True).settings.general.model_name == UNDERSTUDY
    )


@pytest.mark.parametrize(
    ("installed", "configured", "runs"),
    [(True, "auto", "vllm"), (False, "auto", "transformers"), (True, "transformers", "transformers")],
)
def test_the_engine_is_the_one_that_is_there(installed: bool, configured: str, runs: str) -> None:
    settings = resolve_arguments(parse_arguments("--engine", configured), gpus=False).settings
    assert choose_engine(settings, vllm=installed).inference.engine == runs


def test_an_engine_that_is_not_installed_is_refused() -> None:
    with pytest.raises(ConfigError, match="vllm is not installed"):
        choose_engine(resolve_arguments(parse_arguments("--engine", "vllm"), gpus=False).settings, vllm=False)


@pytest.mark.parametrize(
    ("word", "section", "key", "value"),
    [
        ("finetuning.num_total_iters=3", "finetuning", "num_total_iters", 3),
        ("finetuning.dataset_array=[[alltag_de]]", "finetuning", "dataset_array", [["alltag_de"]]),
        ("finetuning.learning_rate=1e-3", "finetuning", "learning_rate", 0.001),
        ("general.keep_runs=true", "general", "keep_runs", True),
    ],
)
def test_a_setting_on_the_command_line_wins(word: str, section: str, key: str, value: Any) -> None:
    settings = resolve_arguments(parse_arguments("--set", word), gpus=False).settings
    assert getattr(getattr(settings, section), key) == value


@pytest.mark.parametrize("word", ["num_total_iters=3", "finetuning.num_total_iters", "finetuning.=3"])
def test_a_setting_without_section_or_value_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"is not section\.key=value"):
        resolve_arguments(parse_arguments("--set", word), gpus=False)


def test_a_secret_on_the_command_line_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_arguments(parse_arguments("--set", "hf_token=hf_secret"), gpus=False)
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["alert_url", "heartbeat_url"])
@pytest.mark.parametrize(
    "address", ["http://s3cret.org:99999/", "http://s3cret.org:65536", "http://s3cret.org:-1/", "s3cret.org"]
)
def test_an_address_that_cannot_be_called_is_refused_and_not_repeated(tmp_path: Path, key: str, address: str) -> None:
    with pytest.raises(ConfigError, match=f"general.{key}: the value is not allowed; allowed: an address") as caught:
        load_settings(write_config(tmp_path, f"general: {{{key}: '{address}'}}"))
    assert "s3cret" not in str(caught.value)
    load_settings(write_config(tmp_path, f"general: {{{key}: 'https://s3cret.org:8443/token'}}"))


def test_weights_in_four_bits_are_not_divided(tmp_path: Path) -> None:
    tuning = "finetuning: {precision: nf4, parallel: fsdp, devices: %d}"
    with pytest.raises(ConfigError, match="'fsdp' is not allowed with"):
        load_settings(write_config(tmp_path, tuning % 2))
    load_settings(write_config(tmp_path, tuning % 1))


# --- what the processes read -----------------------------------------------------------------------------------------


def test_the_written_settings_mean_the_same_from_everywhere(tmp_path: Path) -> None:
    config = write_config(tmp_path, "general: {hf_token: hf_secret, owner_port: 0, model_name: org/name}\n")
    settings = load_settings(config)
    where = paths_of(settings, tmp_path)
    settled = with_folders_and_ports(settings, where)
    path = write_settings(settled, where)
    assert path == tmp_path / "data" / "settings.yaml"
    assert path.stat().st_mode & 0o077 == 0
    reloaded = load_settings(path)
    assert reloaded == settled
    assert reloaded.general.hf_token.get_secret_value() == "hf_secret"
    assert reloaded.general.owner_port > 0
    assert paths_of(reloaded, Path("/elsewhere")) == where


def test_a_local_model_is_found_from_everywhere(tmp_path: Path) -> None:
    (tmp_path / "local-model").mkdir()
    (tmp_path / "local-model" / "config.json").write_text("{}")
    settings = Settings.model_validate({"general": {"model_name": "local-model"}})
    settled = with_folders_and_ports(settings, paths_of(settings, tmp_path))
    assert paths_of(settled, Path("/elsewhere")).model == tmp_path / "local-model"
