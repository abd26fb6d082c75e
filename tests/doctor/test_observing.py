"""What the doctor observes, of real files, sockets and programs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from wmkml.access.keys import load_keys
from wmkml.config import load_settings
from wmkml.config.paths import SHIPPED_MODEL, paths_of
from wmkml.doctor import observing
from wmkml.doctor.facts import FileState
from wmkml.doctor.observing import (
    file_state,
    free_gib,
    machine_facts,
    osc_facts,
    program_facts,
    torch_cuda,
    vllm_cuda,
    writing_problem,
)
from wmkml.models.files import has_chat_template, has_own_format_only, has_tekken_only, present_weights
from wmkml.system.disk import reading
from wmkml.system.disk.reading import BLOCK_BYTES, read_ahead, read_speed


def test_what_torch_and_vllm_are_built_for_is_read_without_importing_them() -> None:
    torch = pytest.importorskip("torch")
    assert torch_cuda() == (torch.version.cuda or "")
    assert vllm_cuda() in ("", None)  # these tests' vLLM is built for the CPU, if there is one
    programs = program_facts((), {"VLLM_USE_FLASHINFER_SAMPLER": "1"})
    assert programs.flashinfer_forced
    assert programs.gpus_of_torch is None


def test_the_machine_is_described() -> None:
    machine = machine_facts((), {"OMP_NUM_THREADS": "96", "RUNPOD_POD_ID": "x", "CUDA_VISIBLE_DEVICES": ""})
    assert (machine.omp_threads, machine.provider, machine.gpu_devices) == ("96", "RunPod", 0)
    assert 1 <= machine.usable_cores <= machine.visible_cores
    assert machine_facts((), {}).provider == ""


def test_the_state_of_a_secret_file(tmp_path: Path) -> None:
    paths = paths_of(load_settings(overrides={"general.data_folder": str(tmp_path)}), tmp_path)

    def state() -> FileState:
        return file_state(paths.keys, lambda: load_keys(paths))

    assert state() == "absent"
    load_keys(paths)
    assert state() == "readable"
    paths.keys.chmod(0o644)
    assert state() == "open"
    paths.keys.write_text("{}")
    assert state() == "broken"

    def forbidden() -> None:
        raise PermissionError

    assert file_state(paths.keys, forbidden) == "forbidden"


def test_whether_a_folder_can_be_written_is_seen_without_writing(tmp_path: Path) -> None:
    assert writing_problem(tmp_path / "not" / "yet") == ""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert writing_problem(tmp_path / "file" / "below") == f"{tmp_path / 'file'} is no folder"
    assert (free_gib(tmp_path / "not" / "yet") or 0) > 0
    if Path("/proc/sys").exists():
        assert writing_problem(Path("/proc/nothing")) != ""


@pytest.mark.parametrize("send", [False, True])
def test_an_osc_host_on_this_machine_is_local(send: bool) -> None:
    assert osc_facts("127.0.0.1", 9000, send=send).route == "local"
    assert osc_facts("localhost", 9000, send=send).route == "local"
    assert osc_facts("no.such.host.invalid", 9000, send=send).route == "no_route"


def test_a_host_that_refuses_a_datagram_is_told_from_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    # This machine itself, taken for another one: its kernel answers for closed ports as any host of the same network does.
    monkeypatch.setattr(observing, "_is_this_machine", lambda _address: False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert osc_facts("127.0.0.1", port, send=True).route == "sent"
        assert listening.recv(100).startswith(b"/test")
    assert osc_facts("127.0.0.1", port, send=True).route == "closed"


def test_reading_is_measured_and_bounded(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"\0" * (3 * BLOCK_BYTES))
    assert (read_speed(file) or 0) > 0
    assert (read_speed(file, most_bytes=BLOCK_BYTES) or 0) > 0
    assert read_speed(file, seconds=0.0) is None
    file.write_bytes(b"small")
    assert read_speed(file) is None
    assert read_speed(tmp_path / "absent") is None


def test_weights_are_read_ahead_where_memory_allows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = present_weights(SHIPPED_MODEL)
    assert weights
    thread = read_ahead([*weights, tmp_path / "absent"])
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
    assert read_ahead([]) is None
    monkeypatch.setattr(reading, "MEMORY_SHARE", 0.0)
    assert read_ahead(weights) is None


def test_mistrals_own_files_are_told_from_those_of_transformers(tmp_path: Path) -> None:
    (tmp_path / "consolidated.safetensors").write_bytes(b"")
    (tmp_path / "tekken.json").write_text("{}")
    assert has_own_format_only(tmp_path)
    assert has_tekken_only(tmp_path)
    assert not has_chat_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert not has_own_format_only(tmp_path)
    assert not has_tekken_only(tmp_path)
    assert has_chat_template(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{")
    assert present_weights(tmp_path) == []
