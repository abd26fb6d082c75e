"""`update` and `rollback` on real git: the operator's files and data stay, and whatever fails puts the version of before back.

`master_script.sh` is a stand-in that writes down how it was called, and may fail; the installer has tests of its own.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.config.paths import PROJECT

pytestmark = pytest.mark.process

SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
echo "$(cat version) $*" >> data/calls
case "$*" in
install) [ "$(cat version)" = broken ] && exit 1; cp version env/installed;;
--plan) grep -q "^key_of_$(cat version):" config.yaml || exit 2;;
esac
exit 0
"""


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def release(origin: Path, version: str) -> str:
    """Publish a version; returns its commit."""
    (origin / "version").write_text(version)
    (origin / "program.py").write_text(f"# {version}\n")
    (origin / "config.yaml").write_text(f"key_of_{version}: 1\n")
    git(origin, "add", "-A")
    git(origin, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", version)
    git(origin, "tag", version)
    return git(origin, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitignore").write_text("/data/\n/env/\n/env.before*\n/wmkml/\n")
    (folder / "master_script.sh").write_text(SCRIPT)
    (folder / "master_script.sh").chmod(0o755)
    (folder / "stage").mkdir()
    (folder / "stage" / "mapping.yaml").write_text("shipped: 1\n")
    release(folder, "first")
    return folder


@pytest.fixture
def checkout(origin: Path, tmp_path: Path) -> Path:
    """A checkout that an operator has used: settings, a mapping and data of their own."""
    folder = tmp_path / "checkout"
    git(tmp_path, "clone", "-q", str(origin), str(folder))
    (folder / "wmkml").symlink_to(PROJECT / "wmkml")
    (folder / "data").mkdir()
    (folder / "data" / "run.sqlite").write_text("words")
    (folder / "env").mkdir()
    (folder / "env" / "installed").write_text("first")
    (folder / "config.yaml").write_text("key_of_first: 7\nkey_of_second: 7\nkey_of_broken: 7\n")
    (folder / "stage" / "mapping.yaml").write_text("mine: 2\n")
    return folder


def call(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from pathlib import Path; from wmkml.install import updating; "
        f"updating.PROJECT = Path({str(checkout)!r}); sys.exit(updating.main())"
    )
    command = [sys.executable, "-B", "-c", program, *words, "--data", str(checkout / "data")]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def calls(checkout: Path) -> list[str]:
    return (checkout / "data" / "calls").read_text().splitlines()


def operators_files(checkout: Path) -> list[str]:
    return [(checkout / name).read_text() for name in ("config.yaml", "stage/mapping.yaml", "data/run.sqlite")]


def test_an_update_brings_the_version_and_keeps_what_is_the_operators_and_a_rollback_takes_it_back(
    origin: Path, checkout: Path
) -> None:
    own = operators_files(checkout)
    release(origin, "second")
    done = call(checkout, "update")
    assert done.returncode == 0, done.stderr
    assert (checkout / "program.py").read_text() == "# second\n"
    assert operators_files(checkout) == own
    assert calls(checkout) == ["second install", "second --plan"], "what did not run is not started"
    assert (checkout / "env" / "installed").read_text() == "second\n" or (
        checkout / "env" / "installed"
    ).read_text() == "second"
    assert "Nothing was changed" in call(checkout, "update", "second").stdout

    done = call(checkout, "rollback")
    assert done.returncode == 0, done.stderr
    assert (checkout / "program.py").read_text() == "# first\n"
    assert operators_files(checkout) == own
    assert call(checkout, "rollback").returncode == 1, "there was one update"


def test_the_environment_of_before_comes_back_without_the_network(origin: Path, checkout: Path) -> None:
    (checkout / "env" / "library").write_text("of the first")
    release(origin, "second")
    assert call(checkout, "update").returncode == 0
    (checkout / "env" / "library").unlink()
    (checkout / "env" / "library").write_text(
        "of the second"
    )  # as pip does, which never writes into a file that is there
    assert call(checkout, "rollback").returncode == 0
    assert (checkout / "env" / "library").read_text() == "of the first"
    assert (checkout / "env.before" / "library").read_text() == "of the second"


@pytest.mark.parametrize(
    ("version", "config", "sentence"),
    [
        ("broken", "key_of_first: 7\nkey_of_broken: 7\n", "install ended with status 1"),
        ("second", "key_of_first: 7\n", "--plan ended with status 2"),
    ],
)
def test_a_version_that_cannot_run_is_taken_back(
    origin: Path, checkout: Path, version: str, config: str, sentence: str
) -> None:
    (checkout / "config.yaml").write_text(config)
    (checkout / "data" / "cluster.lock").touch()
    release(origin, version)
    with (checkout / "data" / "cluster.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the launcher does while it runs
        done = call(checkout, "update")
    assert done.returncode == 1
    assert sentence in done.stderr and "The version of before is back" in done.stderr
    assert (checkout / "program.py").read_text() == "# first\n"
    assert (checkout / "config.yaml").read_text() == config
    assert (checkout / "env" / "installed").read_text() == "first"
    assert calls(checkout)[0] == "first stop" and calls(checkout)[-1] == "first start", "it runs again"
    assert not (checkout / "data" / "updates.jsonl").exists()


def test_a_program_that_was_changed_by_hand_is_left_alone(origin: Path, checkout: Path) -> None:
    (checkout / "program.py").write_text("# mine\n")
    release(origin, "second")
    done = call(checkout, "update")
    assert done.returncode == 1 and "program.py" in done.stderr and "config.yaml" not in done.stderr
    assert (checkout / "program.py").read_text() == "# mine\n"
    assert not (checkout / "data" / "calls").exists()


def test_what_cannot_be_is_told(origin: Path, checkout: Path) -> None:
    assert "no version nowhere" in call(checkout, "update", "nowhere").stderr
    assert "nothing to roll back" in call(checkout, "rollback").stderr
    commit = release(origin, "second")
    (checkout / "data" / "updates.jsonl").write_text(json.dumps({"before": commit, "after": commit, "at": 0}) + "\n")
    assert "by hand" in call(checkout, "rollback").stderr
    (checkout / "data" / "updates.jsonl").write_text("{}\n")
    assert "is damaged" in call(checkout, "rollback").stderr
    origin.rename(origin.with_name("gone"))
    assert "git fetch failed" in call(checkout, "update").stderr
