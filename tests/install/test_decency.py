"""The question at the installation, at a real terminal (a pseudo-terminal): asked once, kept in config.yaml, never without a terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.config import load_settings
from wmkml.config.paths import PROJECT, paths_of
from wmkml.install.decency import MARKER, SWITCHES, CannotWriteError, switch_on, switched_on

pytestmark = pytest.mark.process

ASK = "import sys; from pathlib import Path; from wmkml.install.decency import ask_once; ask_once(Path(sys.argv[1]))"
SECONDS = 60.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return Path(shutil.copy(PROJECT / "config.yaml", tmp_path / "config.yaml"))


def at_a_terminal(config: Path, *answers: str, leave: bool = False) -> str:
    """What is asked at a terminal, each question answered in turn; `leave`: Ctrl-D in the end."""
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASK, str(config)], cwd=PROJECT, stdin=other, stdout=other, stderr=other
    )
    os.close(other)
    shown, left = "", [*answers, *(["\x04"] if leave else [])]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 65536).decode()
            except OSError:  # how a pseudo-terminal says that the other side is closed
                break
        if left and shown.rstrip(" ").endswith("[j/y/N]"):
            answer = left.pop(0)
            os.write(terminal, answer.encode() if answer == "\x04" else f"{answer}\n".encode())
            shown += " "
            shown += f"({answer!r})"
    os.close(terminal)
    assert process.wait(SECONDS) == 0, shown
    return shown


def test_the_answer_is_kept_where_an_update_keeps_it_and_is_asked_for_once(config: Path) -> None:
    before = config.read_text(encoding="utf-8")
    shown = at_a_terminal(config, "maybe", "j", "", "Yes", "n")
    assert all(german in shown and english in shown for german, english in SWITCHES.values())
    assert "Eingeschaltet / on: visitor, card (config.yaml)" in shown
    decency = load_settings(config).decency
    assert (decency.visitor, decency.stage, decency.card, decency.training) == (True, False, True, False)
    after = config.read_text(encoding="utf-8")
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert changed == [("  visitor: false", "  visitor: true"), ("  card: false", "  card: true")], (
        "and not one byte more"
    )
    assert at_a_terminal(config) == ""
    config.write_text(before, encoding="utf-8")
    assert at_a_terminal(config) == "", "answered is answered, whatever somebody writes by hand afterwards"


def test_a_no_changes_no_file_and_is_asked_for_once(config: Path) -> None:
    before = config.read_bytes()
    assert "Alles bleibt aus" in at_a_terminal(config, "", "", "", "")
    assert config.read_bytes() == before
    assert (config.parent / "data" / MARKER).read_text() == ""
    assert at_a_terminal(config) == ""


def test_who_leaves_is_asked_again(config: Path) -> None:
    before = config.read_bytes()
    assert "Später" in at_a_terminal(config, "j", leave=True)
    assert config.read_bytes() == before
    assert "Alles bleibt aus" in at_a_terminal(config, "", "", "", "")


def test_who_has_decided_in_the_file_is_not_asked(config: Path) -> None:
    switch_on(config, ["stage"])
    assert at_a_terminal(config) == ""
    assert switched_on(config.read_text(encoding="utf-8")) == ["stage"]


def test_without_a_terminal_nothing_is_asked_and_nothing_waits(config: Path) -> None:
    before = config.read_bytes()
    for stdin in (subprocess.DEVNULL, subprocess.PIPE):
        process = subprocess.Popen(
            [sys.executable, "-c", ASK, str(config)], cwd=PROJECT, stdin=stdin, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert process.wait(SECONDS) == 0
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()
    # A terminal that nobody sees, as under `update`, which reads what the installation says.
    terminal, other = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(config)],
        cwd=PROJECT,
        stdin=other,
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    os.close(terminal)
    os.close(other)
    assert done.stdout == b"" and config.read_bytes() == before
    assert not (config.parent / "data").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\ndecency:\n  stage: true\n"),
        ("general: {owner_port: 8000}", "general: {owner_port: 8000}\n\ndecency:\n  stage: true\n"),
        ("decency:\n  visitor: false\n", "decency:\n  stage: true\n  visitor: false\n"),
        ("decency:\r\n  stage: false # off\r\n\r\nprivacy:\r\n", "decency:\r\n  stage: true # off\r\n\r\nprivacy:\r\n"),
        ("decency:\n  # a comment\n\n  stage: false\n", "decency:\n  # a comment\n\n  stage: true\n"),
    ],
)
def test_files_of_every_form_are_changed_in_one_place(tmp_path: Path, before: str, after: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_bytes(before.encode())
    switch_on(config, ["stage"])
    assert config.read_bytes().decode() == after
    assert load_settings(config).decency.stage


def test_a_file_of_another_form_is_left_alone_and_says_so(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("decency: {stage: false}\n")
    with pytest.raises(CannotWriteError, match="write there: card: true"):
        switch_on(config, ["card"])
    assert config.read_text() == "decency: {stage: false}\n"
    assert "decency stands in one line" in at_a_terminal(config, "j", "", "", "")


def test_the_doctor_says_what_was_chosen(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def report() -> str:
        main(["doctor", "--quick", "--language", "en", "--config", str(config), "--set", "general.owner_port=0"])
        return capsys.readouterr().out

    assert "Off, and nobody has decided so" in report()
    paths = paths_of(load_settings(config), config.parent)
    assert paths.decency_answer.name == MARKER
    at_a_terminal(config, "", "", "", "")
    assert "Off, as was chosen." in report()
    switch_on(config, ["visitor", "training"])
    assert "On: decency.visitor, decency.training." in report()
