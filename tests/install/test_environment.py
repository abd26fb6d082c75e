"""How `env/` is made, also by a Python without ensurepip and pip, as Debian's is without python3-venv.

That Python is a real one: a copy of the interpreter with this one's standard library beside it, but for ensurepip.
"""

from __future__ import annotations

import ensurepip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.install import environment

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"

OF_THE_DOOR = ("bash", "dirname", "env")
"""The programs that master_script.sh calls before Python."""


def python_without_ensurepip(prefix: Path) -> Path:
    """Put a Python together in `prefix`; returns its interpreter, for which `prefix` is the whole installation."""
    stdlib = Path(os.__file__).parent
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / VERSION
    shutil.copy2(Path(sys.base_prefix) / "bin" / VERSION, python)
    library = prefix / sys.platlibdir / VERSION
    library.mkdir(parents=True)
    for entry in stdlib.iterdir():
        # Neither the packages that are installed in the original, among which is pip.
        if entry.name not in ("ensurepip", "site-packages", "dist-packages", "__pycache__"):
            (library / entry.name).symlink_to(entry)
    # What is compiled already: to compile half the library in every process takes longer than all else here.
    (library / "__pycache__").mkdir()
    for entry in stdlib.glob("__pycache__/*.pyc"):
        (library / "__pycache__" / entry.name).symlink_to(entry)
    return python


class PiplessMachine:
    """A Python without ensurepip and pip, and a PATH for the programs that a test puts there.

    Packages come from a folder with the one pip that this Python was built with: no test needs a network.
    """

    def __init__(self, folder: Path) -> None:
        self.env, self.path = folder / "env", folder / "path"
        self.path.mkdir()
        self.python = python_without_ensurepip(folder / "usr")
        # Debian keeps the wheels of ensurepip in another folder.
        bundled = Path(ensurepip.__file__).parent / "_bundled"
        self.packages = bundled if bundled.is_dir() else Path("/usr/share/python-wheels")

    def put_on_path(self, program: Path) -> None:
        (self.path / program.name).symlink_to(program)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of what runs on this machine."""
        return {
            "PATH": str(self.path),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.packages),
            "UV_NO_CONFIG": "1",
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(self.packages),
        }

    def make(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Make `env/` with this Python."""
        program = (
            "import pathlib, sys; from wmkml.install import environment\n"
            "try: environment.make(pathlib.Path(sys.argv[1]), print)\n"
            "except environment.CannotMakeError as error: sys.exit(str(error))"
        )
        return subprocess.run(
            [self.python, "-B", "-c", program, self.env],
            env=self.variables | {"PYTHONPATH": str(ROOT)} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self) -> subprocess.CompletedProcess[str]:
        """`./master_script.sh install`, into this machine's `env/`."""
        for name in OF_THE_DOOR:
            program = shutil.which(name)
            assert program is not None
            (self.path / name).unlink(missing_ok=True)
            self.put_on_path(Path(program))
        return subprocess.run(
            [ROOT / "master_script.sh", "install", "--env", self.env],
            env=self.variables | {"WMKML_PYTHON": str(self.python)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> PiplessMachine:
    return PiplessMachine(tmp_path)


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pip of another Python."""
    env = tmp_path_factory.mktemp("other") / "env"
    subprocess.run([sys.executable, "-m", "venv", env], check=True)
    return env / "bin" / "pip"


def test_such_a_python_makes_no_environment_by_itself(machine: PiplessMachine) -> None:
    done = subprocess.run(
        [machine.python, "-m", "venv", machine.env], env=machine.variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert not environment.is_usable(machine.env)


def test_a_python_without_ensurepip_gets_pip_from_another_pip(machine: PiplessMachine, pip: Path) -> None:
    machine.put_on_path(pip)
    done = machine.make()
    assert done.returncode == 0, done.stderr
    assert environment.is_usable(machine.env)
    assert f"pip comes from the package index, by {machine.path / 'pip'}" in done.stdout


def test_a_python_without_ensurepip_gets_pip_from_uv(machine: PiplessMachine) -> None:
    machine.put_on_path(Path(sys.executable).with_name("uv"))
    done = machine.make()
    assert done.returncode == 0, done.stderr
    assert environment.is_usable(machine.env)


def test_the_whole_door_makes_the_environment_and_goes_on_from_it(machine: PiplessMachine, pip: Path) -> None:
    machine.put_on_path(pip)
    # Nothing but pip can be had here, so the first package is where it stops.
    done = machine.install()
    assert done.returncode == 1
    assert f"pip comes from the package index, by {machine.path / 'pip'}" in done.stdout
    assert "torch==" in done.stderr and "could not be installed" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert environment.is_usable(machine.env)
    home = (machine.env / "pyvenv.cfg").read_text().splitlines()[0]
    assert home == f"home = {machine.python.parent}"
    made_at = (machine.env / "pyvenv.cfg").stat().st_mtime_ns
    assert "env/ is there; installing what is missing in it." in machine.install().stdout
    assert (machine.env / "pyvenv.cfg").stat().st_mtime_ns == made_at


def test_the_whole_door_says_in_a_sentence_that_there_is_no_way(machine: PiplessMachine) -> None:
    done = machine.install()
    assert done.returncode == 1
    assert f"sudo apt-get install {environment.DEBIAN_PACKAGE}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not machine.env.exists()


def test_without_any_way_to_pip_it_says_what_to_install(machine: PiplessMachine) -> None:
    done = machine.make()
    assert done.returncode == 1
    assert f"sudo apt-get install {environment.DEBIAN_PACKAGE}" in done.stderr
    assert "install uv" in done.stderr
    assert not machine.env.exists()


def test_an_index_out_of_reach_is_reported_without_its_password(machine: PiplessMachine, pip: Path) -> None:
    machine.put_on_path(pip)
    index = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://me:secret@127.0.0.1:9/simple", "PIP_FIND_LINKS": ""}
    done = machine.make(**index, PIP_RETRIES="0")
    assert done.returncode == 1
    assert "by " in done.stderr and "No matching distribution found for pip" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_a_half_made_environment_is_made_again(tmp_path: Path) -> None:
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python").symlink_to(tmp_path / "gone")
    assert not environment.is_usable(env)
    environment.make(env, lambda _: None)
    assert environment.is_usable(env)
