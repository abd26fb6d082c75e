"""The README is true: every command on it is run here (or where `tests/project/readme.py` says), and every path on it exists."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.hub_stand_in import HubStandIn, serve
from tests.project.readme import FENCE, KINDS, commands, fences
from wmkml.config.paths import PROJECT
from wmkml.system.ports import free_port

pytestmark = pytest.mark.process

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def run(command: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a reader types it, in the project's folder."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | environment,
    )


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {language for language, _, _ in fences()} == {"bash"}
    assert {word for _, word, _ in fences()} == KINDS


@pytest.mark.parametrize("command", commands(""))
def test_a_command_runs_as_it_stands(command: str) -> None:
    done = run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_every_path_it_names_exists() -> None:
    prose = FENCE.sub("", README)
    links = re.findall(r"\]\((?!http)([^)#]+)\)", prose)
    files = [name for name in re.findall(r"`([\w./-]+/[\w.-]+\.\w+)`", prose) if not name.startswith("data/")]
    assert links and files
    assert [name for name in [*links, *files] if not (PROJECT / name).exists()] == []


def test_a_model_is_fetched_from_the_hub(tmp_path: Path, hub: HubStandIn) -> None:
    (command,) = commands("hub")
    done = run(f"{command} --to {tmp_path / 'model'}", HF_ENDPOINT=hub.url, NO_PROXY="127.0.0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "model" / "config.json").read_bytes() == hub.files["config.json"]


def test_the_understudy_is_built(tmp_path: Path) -> None:
    (command,) = commands("build")
    done = run(
        f"{command} --steps 1 --tokens-per-batch 512 --out {tmp_path / 'model'} --work {tmp_path / 'work'}", timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_a_worker_elsewhere_claims_at_the_owner_it_is_given(tmp_path: Path) -> None:
    (command,) = commands("worker")
    own = f" --model understudy --set general.data_folder={tmp_path / 'data'}"
    process = subprocess.Popen(
        ["bash", "-c", f"exec env {command}{own}"],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if "Claiming rounds at http://192.0.2.20:8000" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, "".join(lines)
    assert not (tmp_path / "data" / "keys.json").exists()


@pytest.fixture
def hub() -> Iterator[HubStandIn]:
    small = {
        "config.json": b'{"model_type": "mistral"}',
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "model.safetensors": (8).to_bytes(8, "little") + b"{}      ",
    }
    stand_in = HubStandIn(small, model_id="mistralai/Mistral-7B-Instruct-v0.3")
    server = serve(stand_in)
    yield stand_in
    stand_in.closing.set()
    server.shutdown()


def test_the_tests_own_command_reads_as_a_shell_script() -> None:
    for command in commands("tests"):
        script = shlex.split(command)[0]
        assert os.access(PROJECT / script, os.X_OK)
        assert run(f"bash -n {script}").returncode == 0


def test_the_cluster_starts_answers_and_ends(tmp_path: Path) -> None:
    foreground, start, status, stop, *questions = commands("cluster")
    owner, inference = free_port(), free_port()
    own = f" --engine transformers --set general.data_folder={tmp_path / 'data'}"
    own += f" --set general.owner_port={owner} --set general.inference_port={inference}"
    try:
        started = run(start + own, timeout=200)
        assert started.returncode == 0, started.stdout + started.stderr
        assert f"http://localhost:{owner}/" in started.stdout
        shown = run(status + own)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        for question in questions:
            answer = run(question.replace("8000", str(owner)).replace("8011", str(inference)))
            assert answer.returncode == 0 and answer.stdout.startswith("{"), answer
    finally:
        ended = run(stop + own)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    process = subprocess.Popen(
        shlex.split(foreground + own),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            # What goes on as `start` has gone on; whole starts in the foreground: tests/rehearsal, tests/launcher/test_cluster.py.
            if "owner is ready" in line:
                break
        assert run(questions[-1].replace("8000", str(owner))).stdout.startswith("{"), "".join(lines)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, "".join(lines) + rest
