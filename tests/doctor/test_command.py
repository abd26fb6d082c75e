"""`python -m wmkml doctor`: its text, its JSON and its exit status, and what the launcher makes of the same findings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.launcher.plans import machine, plan_for
from wmkml.__main__ import main
from wmkml.doctor.examination import CHECKS, locale_language
from wmkml.launcher import launch as launching
from wmkml.launcher import preflight
from wmkml.launcher.launch import CannotStartError, launch
from wmkml.protocol.doctor import DoctorReport
from wmkml.system.ports import free_port

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"general: {{owner_port: {free_port()}, inference_port: {free_port()}, datasets_folder: {ROOT}/Datasets}}\n"
    )
    return file


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMKML_GPUS", "0")


def test_every_check_is_printed_in_both_languages(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for language in ("de", "en"):
        main(["doctor", "--quick", "--language", language, "--config", str(config)])
        lines = capsys.readouterr().out.splitlines()
        for check in CHECKS:
            title = getattr(check.title, language)
            assert any(line[2:].startswith(title) for line in lines if line[:1] in "✓!✗–"), title
    assert list(config.parent.iterdir()) == [config]  # nothing was made


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "de_AT.UTF-8"}, "de"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "de_DE"}, "de"),
        ({}, "en"),
    ],
)
def test_the_language_is_the_locales(environment: dict[str, str], language: str) -> None:
    assert locale_language(environment) == language


def test_the_report_is_written_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config.parent / "report.json"
    arguments = ["doctor", "--quick", "--config", str(config)]
    status = main([*arguments, "--json", str(file)])
    report = DoctorReport.model_validate_json(file.read_text())
    assert [check.name for check in CHECKS] == list(dict.fromkeys(result.check for result in report.findings))
    assert capsys.readouterr().out.startswith("What the doctor finds")
    assert status == int(any(result.mark == "bad" for result in report.findings))
    assert main([*arguments, "--json", "-"]) == status
    assert set(json.loads(capsys.readouterr().out)) == {"at", "findings"}
    assert main([*arguments, "--json", "/nowhere/report.json"]) == 2


def test_settings_that_cannot_be_read_are_a_finding(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("finetuning: {batch_size: many}\n")
    assert main(["doctor", "--language", "de", "--config", str(config)]) == 1
    output = capsys.readouterr().out
    assert "✗ Einstellungen" in output
    assert "finetuning.batch_size" in output


@pytest.mark.process
def test_it_loads_no_heavy_library_and_measures(config: Path) -> None:
    program = (
        "import sys; from wmkml.__main__ import main; status = main(['doctor', *sys.argv[1:]]); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'vllm', 'transformers'}))"
    )
    command = [sys.executable, "-c", program, "--language", "en", "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "MiB/s" in done.stdout


def test_a_plan_of_a_pod_is_examined_without_one(tmp_path: Path) -> None:
    plan = plan_for(machine(3, pretended=False), root=tmp_path)
    report = preflight.examine_plan(plan)
    outcome = {result.check: result.outcome for result in report.findings}
    assert outcome["driver"] == "unknown"  # the cards of this plan tell no version
    assert (outcome["memory"], outcome["model"], outcome["gpu-free"]) == ("fits", "to_fetch", "unknown")
    facts = preflight.facts_of(plan)
    assert facts.installation is not None
    assert facts.installation.ready_timeout_s >= 1200
    assert (facts.installation.engine_gpus, facts.installation.training_gpus) == (2, 1)
    assert facts.installation.download_gib == pytest.approx(13.5, abs=0.2)
    assert not (tmp_path / "data").exists()


def test_the_launcher_says_what_is_wrong_and_refuses_what_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setattr(launching, "_stop_on_signals", nullcontext)
    monkeypatch.setattr(launching, "write_settings", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "keys.json").write_text("{}")
    general: dict[str, object] = {"owner_port": free_port(), "inference_port": free_port()}
    plan = plan_for(machine(0), model="understudy", root=tmp_path, general=general)
    with pytest.raises(CannotStartError) as refusal:
        launch(plan)
    assert "keys.json enthält nicht, was es soll. Löschen" in str(refusal.value)
    assert "(rm " in str(refusal.value)

    (tmp_path / "data" / "keys.json").unlink()
    monkeypatch.setattr(preflight, "PAGES", tmp_path)
    with pytest.raises(KeyboardInterrupt):  # it goes on to writing the settings
        launch(plan)
    assert "✗ Webseiten: Sie sind nicht gebaut. (./master_script.sh install)" in capsys.readouterr().out


def test_a_data_folder_that_cannot_be_made_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    folder, heeding = "--set=general.data_folder=/proc/nothing", signal.getsignal(signal.SIGINT)
    assert main(["cluster", folder]) == 1
    assert "/proc/nothing cannot be written" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) == heeding, "whoever called it hears of Ctrl-C as before"
    assert main(["cluster", "start", folder]) == 1
    assert "/proc/nothing/logs cannot be written" in capsys.readouterr().err
    assert main(["doctor", "--quick", folder]) == 1
    assert "✗ Data folder" in capsys.readouterr().out
