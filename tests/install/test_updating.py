"""`update` and `rollback` on real git: the operator's files and data stay, and whatever fails puts the version of before back.

`master_script.sh` is a stand-in that writes down how it was called, and may fail; the installer has tests of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.waiting import until
from wmkml.config.paths import PROJECT
from wmkml.install import running as running_module
from wmkml.install import updating
from wmkml.install.running import UNIT, Keeper, Running, find_running
from wmkml.install.updating import CannotUpdateError, Checkout

pytestmark = pytest.mark.process

SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
echo "$(cat version) $*" >> data/calls
case "$1" in
stop) [ -e data/launcher.pid ] && kill "$(cat data/launcher.pid)";;
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
    (folder / ".gitignore").write_text("/data/\n/env/\n/env.before*\n/wmkml/\n/updating.pid\n")
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


LAUNCHER = """
import fcntl, pathlib, signal, sys
data = pathlib.Path(sys.argv[sys.argv.index("--config") + 1]).resolve().parent / "data"
lock = (data / "cluster.lock").open("ab")
fcntl.flock(lock, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
(data / "launcher.new").write_text(str(__import__("os").getpid()))
(data / "launcher.new").rename(data / "launcher.pid")  # whole, for whoever reads it
signal.pause()
"""
"""A stand-in of `wmkml.launcher`: it holds its data folder's lock until SIGTERM, and ends with 0 as the real one."""

ARGUMENTS = ["--config", "../checkout/own.yaml", "--set", "general.logging=INFO"]


@contextlib.contextmanager
def running(checkout: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher that runs of this checkout, started in another folder with a settings file of its own."""
    (checkout / "env" / "bin").mkdir(parents=True)
    (checkout / "env" / "bin" / "python").symlink_to(sys.executable)
    package = checkout.parent / "stand_in" / "wmkml"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "launcher.py").write_text(LAUNCHER)
    elsewhere = checkout.parent / "elsewhere"
    elsewhere.mkdir()
    words = command or (str(checkout / "env" / "bin" / "python"), "-m", "wmkml.launcher", *ARGUMENTS)
    environment = os.environ | {"PYTHONPATH": str(package.parent), "WMKML_RESTART_SECONDS": "0"}
    process = subprocess.Popen(words, cwd=elsewhere, env=environment)
    try:
        until((checkout / "data" / "launcher.pid").is_file, "the launcher")
        yield process
    finally:
        process.terminate()
        process.wait(20)


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
    release(origin, version)
    with running(checkout) as launcher:
        done = call(checkout, "update")
        assert launcher.wait(20) == 0
    assert done.returncode == 1
    assert sentence in done.stderr and "The version of before is back" in done.stderr
    assert (checkout / "program.py").read_text() == "# first\n"
    assert (checkout / "config.yaml").read_text() == config
    assert (checkout / "env" / "installed").read_text() == "first"
    given = " ".join(ARGUMENTS)
    assert calls(checkout)[0] == f"first stop {given}" and calls(checkout)[-1] == f"first start {given}", (
        "it runs again"
    )
    assert not (checkout / "data" / "updates.jsonl").exists()


def test_what_keeps_it_running_waits_for_the_update_and_starts_it_again(origin: Path, checkout: Path) -> None:
    (checkout / "scripts").mkdir()
    shutil.copy(PROJECT / "scripts" / "keep-running", checkout / "scripts")
    script = SCRIPT.replace(
        "exit 0",
        f'[ "$1" = --config ] && cd ../elsewhere && exec {checkout}/env/bin/python -m wmkml.launcher "$@"\nexit 0',
    )
    for folder in (origin, checkout):
        (folder / "master_script.sh").write_text(script)
    git(checkout, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qam", "with a launcher")
    release(origin, "second")
    with running(checkout, str(checkout / "scripts" / "keep-running"), *ARGUMENTS) as keeper:
        first = (checkout / "data" / "launcher.pid").read_text()
        done = call(checkout, "update")
        assert done.returncode == 0, done.stderr
        until(lambda: (checkout / "data" / "launcher.pid").read_text() != first, "the version that came")
        assert keeper.poll() is None, "the pod goes on"
        given = " ".join(ARGUMENTS)
        second = ["second install", f"second --plan {given}", f"second {given}"]
        assert calls(checkout) == [f"first {given}", f"first stop {given}", *second], "started once, by its keeper"

        # A keeper that gets no time sees only afterwards that the installation was stopped.
        release(origin, "third")
        second_launcher = (checkout / "data" / "launcher.pid").read_text()
        keeper.send_signal(signal.SIGSTOP)
        assert call(checkout, "update").returncode == 0
        keeper.send_signal(signal.SIGCONT)
        until(lambda: (checkout / "data" / "launcher.pid").read_text() != second_launcher, "the version after it")
        assert not (checkout / "updating.pid").exists()
        os.kill(int((checkout / "data" / "launcher.pid").read_text()), signal.SIGTERM)
        assert keeper.wait(20) == 0, "ended on purpose it stays ended"


@pytest.mark.parametrize("status", [0, 1])
def test_systemd_stops_and_starts_what_it_runs(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """`systemctl` is a stand-in that writes down how it was called: no systemd runs where tests do."""
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/systemctl_calls\nexit {status}\n')
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(updating, "find_running", lambda project: Running(tmp_path, (), tmp_path, "systemd --user"))
    release(tmp_path / "origin", "second")
    if status:
        with pytest.raises(CannotUpdateError, match="Nothing was changed"):
            Checkout(checkout, checkout / "data").update(None)
        assert (checkout / "program.py").read_text() == "# first\n"
    else:
        Checkout(checkout, checkout / "data").update(None)
        assert calls(checkout) == ["second install", "second --plan"]
    done = (tmp_path / "systemctl_calls").read_text().splitlines()
    assert done == [f"--user {action} {UNIT}" for action in (["stop"] if status else ["stop", "start"])]


@pytest.mark.parametrize(
    ("cgroup", "keeper"),
    [
        (f"0::/system.slice/{UNIT}\n", "systemd"),
        (f"0::/user.slice/user-1000.slice/user@1000.service/app.slice/{UNIT}\n", "systemd --user"),
        ("0::/user.slice/session-2.scope\n", ""),
    ],
)
def test_who_keeps_it_running_is_told_by_its_control_group(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, keeper: str
) -> None:
    process = tmp_path / "proc" / "4711"
    (process / "fd").mkdir(parents=True)
    (process / "fd" / "7").symlink_to("/srv/data/cluster.lock")
    (process / "cwd").symlink_to("/srv")
    words = [str(checkout / "env/bin/python"), "-m", "wmkml.launcher", "--config", "a b.yaml"]
    (process / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
    (process / "cgroup").write_text(cgroup)
    (process / "stat").write_text("4711 (a (b) c) S 1 1")
    monkeypatch.setattr(running_module, "PROC", tmp_path / "proc")
    expected = Running(Path("/srv/data"), ("--config", "a b.yaml"), Path("/srv"), cast(Keeper, keeper))
    assert find_running(checkout) == expected


@pytest.mark.parametrize("broken", ["copy", "checkout", "exchange"])
def test_whatever_breaks_down_on_the_way_the_version_of_before_is_back(
    origin: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    release(origin, "second")
    if broken == "exchange":
        assert call(checkout, "update").returncode == 0
        git(checkout, "checkout", "-qf", "first")
        (checkout / "config.yaml").write_text("key_of_first: 7\nkey_of_second: 7\n")
        (checkout / "env.before.version").write_text(git(checkout, "rev-parse", "second"))
    elif broken == "copy":
        (checkout.parent / "cp").write_text("#!/bin/sh\nexit 1\n")
        (checkout.parent / "cp").chmod(0o755)
        monkeypatch.setenv("PATH", f"{checkout.parent}:{os.environ['PATH']}")
    rename, write = Path.rename, Path.write_bytes
    failures = iter([True])

    def fail_once(path: Path) -> None:
        if next(failures, False):
            raise OSError(28, "No space left on device", str(path))

    def rename_once(path: Path, target: Path) -> Path:
        if broken == "exchange" and path.name == "env.before":
            fail_once(path)
        return rename(path, target)

    def write_once(path: Path, content: bytes) -> int:
        if broken == "checkout":
            fail_once(path)
        return write(path, content)

    monkeypatch.setattr(Path, "rename", rename_once)
    monkeypatch.setattr(Path, "write_bytes", write_once)
    environment = (checkout / "env" / "installed").read_text()
    config = (checkout / "config.yaml").read_text()
    with pytest.raises(CannotUpdateError, match="The version of before is back"):
        Checkout(checkout, checkout / "data").update("second")
    assert (checkout / "program.py").read_text() == "# first\n"
    assert (checkout / "env" / "installed").read_text() == environment
    assert (checkout / "config.yaml").read_text() == config


def test_what_an_operator_added_or_deleted_stays_so(origin: Path, checkout: Path) -> None:
    (checkout / "stage" / "bonfire.yaml").write_text("own: 1\n")
    (checkout / "stage" / "mapping.yaml").unlink()
    (origin / "stage" / "bonfire.yaml").write_text("shipped: 2\n")
    release(origin, "second")
    for word, version in (("update", "second"), ("rollback", "first")):
        done = call(checkout, word)
        assert done.returncode == 0, done.stderr
        assert (checkout / "program.py").read_text() == f"# {version}\n"
        assert (checkout / "stage" / "bonfire.yaml").read_text() == "own: 1\n"
        assert not (checkout / "stage" / "mapping.yaml").exists()


def test_a_file_that_lies_where_the_program_brings_another_is_named(origin: Path, checkout: Path) -> None:
    (checkout / "tool.py").write_text("# mine\n")
    (origin / "tool.py").write_text("# shipped\n")
    release(origin, "second")
    done = call(checkout, "update")
    assert done.returncode == 1 and "tool.py" in done.stderr
    assert (checkout / "tool.py").read_text() == "# mine\n" and (checkout / "program.py").read_text() == "# first\n"


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
