"""Starting with the machine: the systemd unit, read by systemd's own reader, and `scripts/keep-running` where there is none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from wmkml.__main__ import main
from wmkml.config.paths import PROJECT
from wmkml.install.running import UNIT
from wmkml.launcher.service_unit import install_service, unit_text

pytestmark = pytest.mark.process

ARGUMENTS = ["--set", 'inference.system_prompts={"de": "50 % $HOME \\ \'x\'"}']


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a name that systemd would read otherwise, whose `master_script.sh` counts its starts."""
    folder = tmp_path / "die Sprache 50%"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(PROJECT / "scripts" / "keep-running", folder / "scripts")
    script = folder / "master_script.sh"
    script.write_text(
        '#!/usr/bin/env bash\ncd "$(dirname "$0")"\nprintf "%s\\n" "$@" > arguments\necho $$ >> starts\n'
        'trap "touch ended; exit 0" TERM\nuntil [[ -e end ]]; do sleep 0.05; done\nexit "$(cat end)"\n'
    )
    script.chmod(0o755)
    return folder


def verify(path: Path) -> str:
    """What systemd complains about in a unit."""
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    return done.stderr + (f"status {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("user", ["root", None])
def test_systemd_finds_nothing_wrong_with_the_unit(checkout: Path, user: str | None) -> None:
    unit = checkout.parent / UNIT
    unit.write_text(unit_text(checkout, ARGUMENTS, user), encoding="utf-8")
    assert verify(unit) == ""
    unit.write_text(unit_text(checkout.parent, ARGUMENTS, user), encoding="utf-8")
    assert "master_script.sh is not executable" in verify(unit), "it does look at the command"


def test_the_unit_gives_every_argument_as_it_is(checkout: Path) -> None:
    """Unquoted by hand, after systemd.service(5): no part of a word is read as a variable, a specifier or a quote."""
    (line,) = [line for line in unit_text(checkout, ARGUMENTS, None).splitlines() if line.startswith("ExecStart=")]
    words = [word.strip('"') for word in line.removeprefix("ExecStart=").split('" "')]
    plain = [word.replace('\\"', '"').replace("\\\\", "\\").replace("$$", "$").replace("%%", "%") for word in words]
    assert plain == [str(checkout / "master_script.sh"), *ARGUMENTS]


def test_without_systemd_nothing_is_written_and_the_other_way_is_named(tmp_path: Path) -> None:
    exit_status, text = install_service(PROJECT, ["--model", "understudy"], root=tmp_path, home=tmp_path)
    assert exit_status == 1 and not list(tmp_path.rglob("*"))
    assert f"@reboot {PROJECT / 'scripts' / 'keep-running'} --model understudy" in text


def test_it_is_written_and_enabled(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`systemctl` and `loginctl` are stand-ins that write down how they were called: no systemd runs where tests do."""
    root, programs, calls = tmp_path / "root", tmp_path / "programs", tmp_path / "calls"
    (root / "run/systemd/system").mkdir(parents=True)
    programs.mkdir()
    for name in ("systemctl", "loginctl"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    exit_status, text = install_service(checkout, ARGUMENTS, root=root, home=tmp_path)
    assert exit_status == 0, text
    (written,) = list(tmp_path.rglob(UNIT))
    assert verify(written) == ""
    assert f"enable {UNIT}" in calls.read_text()
    monkeypatch.setenv("PATH", str(tmp_path))
    exit_status, text = install_service(checkout, ARGUMENTS, root=root, home=tmp_path)
    assert exit_status == 1 and "daemon-reload` failed: No such file" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to somebody else")
def test_a_checkout_of_a_user_without_a_name_is_served_by_its_number(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(checkout, 54321, -1)
    (tmp_path / "root" / "run/systemd/system").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    install_service(checkout, [], root=tmp_path / "root", home=tmp_path)
    (written,) = tmp_path.rglob(UNIT)
    assert "User=54321" in written.read_text()


def test_it_goes_with_no_action(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "stop", "--install-service"]) == 2
    assert "without an action" in capsys.readouterr().err


@pytest.fixture
def keeper(checkout: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"WMKML_RESTART_SECONDS": "0"}
    process = subprocess.Popen([checkout / "scripts" / "keep-running", *ARGUMENTS], env=environment)
    yield process
    process.terminate()
    process.wait(20)


def starts(checkout: Path) -> list[int]:
    path = checkout / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_what_fails_is_started_again_and_what_is_ended_stays_so(
    checkout: Path, keeper: subprocess.Popen[bytes]
) -> None:
    until(lambda: len(starts(checkout)) == 1, "the first start")
    os.kill(starts(checkout)[0], signal.SIGKILL)
    until(lambda: len(starts(checkout)) == 2, "a start after kill -9")
    assert (checkout / "arguments").read_text().splitlines() == ARGUMENTS
    (checkout / "end").write_text("0")
    assert keeper.wait(20) == 0
    assert len(starts(checkout)) == 2


def test_a_signal_ends_the_installation_first(checkout: Path, keeper: subprocess.Popen[bytes]) -> None:
    until(lambda: len(starts(checkout)) == 1, "the first start")
    keeper.terminate()
    assert keeper.wait(20) == 0
    assert (checkout / "ended").exists() and len(starts(checkout)) == 1
