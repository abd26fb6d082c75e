"""`run_tests.sh` with stand-ins for Python, the checks and the installation: when it says that all passed, and when it may not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wmkml.config.paths import PROJECT

pytestmark = pytest.mark.process

PYTHON = """#!/bin/sh
case "$*" in
*lastfailed*) cat failed; exit 0 ;;
*"not alone"*) exit "$BESIDE" ;;
*"alone and"*) exit "$ALONE" ;;
*"-m pytest"*) echo "$*" >> repeated; exit "$REPEATED" ;;
esac
"""


def run_tests(
    folder: Path, *arguments: str, beside: int = 0, alone: int = 0, repeated: int = 0, failed: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the script where pytest ends with these statuses, after so many tests have failed beside others."""
    for name, content in {
        "env/bin/python": PYTHON,
        "scripts/check": "#!/bin/sh\n",
        "master_script.sh": "#!/bin/sh\n",
        "bin/apt-get": "#!/bin/sh\n",  # else a root's test would install what this machine lacks
        "failed": "".join(f"tests/test_{number}.py::test_it\n" for number in range(failed)),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)
    shutil.copy(PROJECT / "run_tests.sh", folder)
    statuses = {"BESIDE": beside, "ALONE": alone, "REPEATED": repeated}
    environment = os.environ | {name: str(status) for name, status in statuses.items()}
    environment["PATH"] = f"{folder}/bin:{environment['PATH']}"
    return subprocess.run([folder / "run_tests.sh", *arguments], env=environment, capture_output=True, text=True)


def test_all_pass(tmp_path: Path) -> None:
    ended = run_tests(tmp_path)
    assert (ended.returncode, "All passed." in ended.stdout) == (0, True)
    assert not (tmp_path / "repeated").exists()


def test_what_passes_alone_is_named_as_unstable(tmp_path: Path) -> None:
    ended = run_tests(tmp_path, beside=1, failed=2)
    assert (ended.returncode, "All passed." in ended.stdout) == (0, True)
    assert "Unstable, to be mended" in ended.stdout and "tests/test_1.py::test_it" in ended.stdout
    assert "tests/test_0.py::test_it tests/test_1.py::test_it" in (tmp_path / "repeated").read_text()


@pytest.mark.parametrize(
    ("statuses", "arguments"),
    [
        ({"beside": 1, "failed": 1, "repeated": 1}, []),
        ({"beside": 1, "failed": 4}, []),
        ({"beside": 1, "failed": 0}, []),
        ({"beside": 2, "failed": 1}, []),
        ({"beside": 3, "failed": 1}, []),
        ({"beside": 1, "failed": 1}, ["-x"]),
        ({"beside": 1, "failed": 1}, ["-q", "--maxfail=1"]),
        ({"beside": 1, "failed": 1}, ["--stepwise"]),
        ({"alone": 1}, []),
        ({"beside": 5, "alone": 5}, ["-k", "nothing"]),
    ],
)
def test_anything_else_is_a_failure(tmp_path: Path, statuses: dict[str, int], arguments: list[str]) -> None:
    ended = run_tests(tmp_path, *arguments, **statuses)
    assert (ended.returncode, "All passed." in ended.stdout) == (1, False)
    assert "Failed: " in ended.stdout


def test_tests_of_the_other_kind_alone_are_enough(tmp_path: Path) -> None:
    assert run_tests(tmp_path, "-k", "frames", beside=5).returncode == 0
