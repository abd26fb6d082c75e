"""Downloads of models: only the needed files, each once, resumed after a break; every error is one sentence."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save

from tests.models.hub_stand_in import COMMIT, HubStandIn, serve
from wmkml.models.download import RECORD, DownloadError, download, folder_of, is_complete
from wmkml.models.files import UNFINISHED, needed_files

ROOT = Path(__file__).parent.parent.parent
TOKEN = "hf_a-secret-that-must-not-be-seen"
MIB = 1 << 20


def shard(seed: int, mebibytes: int) -> bytes:
    weights = numpy.random.default_rng(seed).integers(0, 255, (mebibytes, MIB), dtype=numpy.uint8)
    return bytes(save({f"layer.{seed}": weights}))


SHARDS = {f"model-0000{k}-of-00002.safetensors": shard(k, size) for k, size in ((1, 3), (2, 1))}
INDEX = {"weight_map": {f"layer.{k}": f"model-0000{k}-of-00002.safetensors" for k in (1, 2)}}
NEEDED = {
    "config.json": b'{"model_type": "mistral"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b"{}" + b" " * 200_000,
    "tokenizer_config.json": b"{}",
    "special_tokens_map.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    **SHARDS,
}
SUPERFLUOUS = {
    ".gitattributes": b"x",
    "README.md": b"# hello",
    "params.json": b"{}",
    "consolidated.safetensors": shard(3, 1),
    "pytorch_model.bin": b"pickle",
    "onnx/model.safetensors": b"elsewhere",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    stand_in = HubStandIn(NEEDED | SUPERFLUOUS)
    server = serve(stand_in)
    yield stand_in
    stand_in.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "org--tiny"


def environment(hub: HubStandIn, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT)}


def door(hub: HubStandIn, tmp_path: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Call download_model.py as an operator does, with a config of its own."""
    config = tmp_path / "config.yaml"
    if not config.exists():
        config.write_text("general:\n  model_name: org/tiny\n")
    command = [sys.executable, str(ROOT / "download_model.py"), *words, "--config", str(config)]
    env = environment(hub, tmp_path) | more
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)


def listed(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_only_what_is_needed_is_fetched_and_arrives_whole(hub: HubStandIn, folder: Path) -> None:
    lines: list[str] = []
    assert download("org/tiny", folder, endpoint=hub.url, report=lines.append, progress_seconds=0) == folder
    assert listed(folder) == set(NEEDED) | {RECORD}
    for name, content in NEEDED.items():
        assert (folder / name).read_bytes() == content, name
    assert is_complete(folder)
    record = json.loads((folder / RECORD).read_text())
    assert record["model"] == "org/tiny" and record["commit"] == COMMIT
    assert any("100 %" in line and "MB" in line and "/s" in line for line in lines)


def test_what_is_here_already_is_not_fetched_again(hub: HubStandIn, folder: Path) -> None:
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    hub.requests.clear()
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    assert [path for _, path, _ in hub.requests] == ["/api/models/org/tiny/revision/main"]


def test_a_revision_is_fetched_by_its_name(hub: HubStandIn, folder: Path) -> None:
    hub.revisions = ("main", "step1000")
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None, revision="step1000")
    assert is_complete(folder) and hub.requests[0][1] == "/api/models/org/tiny/revision/step1000"
    with pytest.raises(DownloadError, match="org/tiny has no revision step2000"):
        download("org/tiny", folder.with_name("other"), endpoint=hub.url, report=lambda _: None, revision="step2000")


def test_what_is_refused_before_the_weights_fetches_none_of_them(hub: HubStandIn, folder: Path) -> None:
    class TooLargeError(Exception):
        pass

    asked: list[int] = []

    def refuse(size: int) -> None:
        asked.append(size)
        assert (folder / "config.json").is_file() and (folder / "tokenizer.json").is_file()
        raise TooLargeError

    with pytest.raises(TooLargeError):
        download("org/tiny", folder, endpoint=hub.url, report=lambda _: None, before_weights=refuse)
    assert asked == [sum(map(len, SHARDS.values()))] and not is_complete(folder)
    assert [hub.fetched(name) for name in SHARDS] == [[], []]
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None, before_weights=asked.append)
    assert len(asked) == 2 and is_complete(folder)
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None, before_weights=refuse)
    assert len(asked) == 2, "what is here needs no reckoning"


def test_an_adapter_alone_is_fetched_whole(hub: HubStandIn, folder: Path) -> None:
    hub.files = {"adapter_config.json": b"{}", "adapter_model.safetensors": shard(4, 1), "README.md": b"# hello"}
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    assert listed(folder) == {"adapter_config.json", "adapter_model.safetensors", RECORD}


def test_files_put_there_by_hand_are_taken_over_if_they_are_right(hub: HubStandIn, folder: Path) -> None:
    folder.mkdir(parents=True)
    right, wrong = SHARDS
    (folder / right).write_bytes(NEEDED[right])
    (folder / wrong).write_bytes(bytes(len(NEEDED[wrong])))
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    assert hub.fetched(right) == [] and len(hub.fetched(wrong)) == 1
    assert (folder / wrong).read_bytes() == NEEDED[wrong]


def test_a_file_the_hub_has_changed_is_fetched_again(hub: HubStandIn, folder: Path) -> None:
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    hub.files["tokenizer_config.json"] = b"[]"
    hub.requests.clear()
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    assert (folder / "tokenizer_config.json").read_bytes() == b"[]"
    assert len(hub.fetched("tokenizer_config.json")) == 1 and hub.fetched("config.json") == []


def test_a_broken_connection_is_taken_up_within_the_call(hub: HubStandIn, folder: Path) -> None:
    hub.break_after, hub.breaks = 2 * MIB + 17, 1
    hub.files["tokenizer.json"] = b"{}"
    lines: list[str] = []
    download("org/tiny", folder, endpoint=hub.url, report=lines.append)
    name = next(iter(SHARDS))
    ranges = [headers.get("range") for headers in hub.fetched(name)]
    assert ranges == [None, f"bytes={2 * MIB + 17}-"]
    assert (folder / name).read_bytes() == NEEDED[name]
    assert any("broke off" in line for line in lines)


@pytest.mark.process
def test_a_killed_download_is_taken_up_by_the_next_call(hub: HubStandIn, tmp_path: Path) -> None:
    folder, name = tmp_path / "here", next(iter(SHARDS))
    hub.files["tokenizer.json"] = b"{}"
    hub.stall_after = 2 * MIB + MIB // 2
    command = [sys.executable, str(ROOT / "download_model.py"), "org/tiny", "--to", str(folder)]
    first = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(hub, tmp_path),
        stdout=subprocess.DEVNULL,
    )
    try:
        assert hub.stalled.wait(60)
        part = folder / UNFINISHED
        while not any(path.stat().st_size >= 2 * MIB for path in part.glob("*.part")):
            assert first.poll() is None
            time.sleep(0.01)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert not is_complete(folder)
    hub.requests.clear()

    second = door(hub, tmp_path, "org/tiny", "--to", str(folder))
    assert second.returncode == 0, second.stderr
    ranges = [headers.get("range") for headers in hub.fetched(name)]
    assert len(ranges) == 1 and ranges[0] is not None and int(ranges[0][6:-1]) >= 2 * MIB, ranges
    assert "already here" in second.stdout
    assert hub.fetched("config.json") == []
    assert (folder / name).read_bytes() == NEEDED[name] and is_complete(folder)


def test_a_hub_without_ranges_sends_the_whole_file_again(hub: HubStandIn, folder: Path) -> None:
    hub.files["tokenizer.json"] = b"{}"
    hub.break_after, hub.breaks, hub.ranges = 2 * MIB + 17, 1, False
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    name = next(iter(SHARDS))
    assert (folder / name).read_bytes() == NEEDED[name]


def test_a_line_that_brings_nothing_is_given_up_and_what_came_is_kept(hub: HubStandIn, folder: Path) -> None:
    hub.files["tokenizer.json"] = b"{}"
    hub.break_after, hub.breaks = 0, 1000
    with pytest.raises(DownloadError, match=r"broke off at 0 bytes of model-00001.*Call this again"):
        download("org/tiny", folder, endpoint=hub.url, report=lambda _: None, max_failures=1)
    assert (folder / "config.json").read_bytes() == NEEDED["config.json"]
    assert not is_complete(folder)


def test_a_damaged_file_is_never_put_in_place(hub: HubStandIn, folder: Path) -> None:
    hub.files["tokenizer.json"] = b"{}"
    hub.damage = True
    with pytest.raises(DownloadError, match="damaged"):
        download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    assert not list(folder.glob("*.safetensors")) and not list((folder / UNFINISHED).glob("*.part"))
    hub.damage = False
    download("org/tiny", folder, endpoint=hub.url, report=lambda _: None)
    assert is_complete(folder)


@pytest.mark.process
def test_the_door_fetches_into_the_models_folder_and_tells_how_far_it_is(hub: HubStandIn, tmp_path: Path) -> None:
    result = door(hub, tmp_path, "org/tiny")
    assert (result.returncode, result.stderr) == (0, "")
    assert is_complete(tmp_path / "models" / "org--tiny")
    assert "Fetching 9 files of org/tiny" in result.stdout and "is complete" in result.stdout


@pytest.mark.process
def test_the_door_takes_model_folder_and_token_from_the_config(hub: HubStandIn, tmp_path: Path) -> None:
    hub.token = TOKEN
    general = f"general:\n  model_name: org/tiny\n  models_folder: elsewhere\n  hf_token: {TOKEN}\n"
    (tmp_path / "config.yaml").write_text(general)
    result = door(hub, tmp_path)
    assert result.returncode == 0, result.stderr
    assert is_complete(tmp_path / "elsewhere" / "org--tiny")
    assert TOKEN not in result.stdout + result.stderr


@pytest.mark.process
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_token_opens_a_gated_model_and_never_leaves_for_another_host(hub: HubStandIn, tmp_path: Path, way: str) -> None:
    hub.token = TOKEN
    words, more = (["--token", TOKEN], {}) if way == "argument" else ([], {"HF_TOKEN": TOKEN})
    result = door(hub, tmp_path, "org/tiny", *words, **more)
    assert result.returncode == 0, result.stderr
    elsewhere = [headers for _, path, headers in hub.requests if path.startswith("/cdn/")]
    assert elsewhere and not any("authorization" in headers for headers in elsewhere)
    assert TOKEN not in result.stdout + result.stderr
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence on stderr of a failed call; it holds no traceback and no token."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr and TOKEN not in result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.process
def test_a_gated_model_without_a_token_says_what_to_do(hub: HubStandIn, tmp_path: Path) -> None:
    hub.token = "another"
    sentence = refused(door(hub, tmp_path, "org/tiny"))
    assert "org/tiny is gated" in sentence and "--token" in sentence and f"{hub.url}/org/tiny" in sentence


@pytest.mark.process
def test_a_gated_model_with_a_token_without_access_says_what_to_do(hub: HubStandIn, tmp_path: Path) -> None:
    hub.token = "another"
    sentence = refused(door(hub, tmp_path, "org/tiny", "--token", TOKEN))
    assert "this token may not read it" in sentence and "Accept its terms" in sentence


@pytest.mark.process
def test_an_invalid_token_is_said_to_be_one(hub: HubStandIn, tmp_path: Path) -> None:
    hub.rejects_tokens = True
    assert "refuses this token" in refused(door(hub, tmp_path, "org/tiny", "--token", TOKEN))


@pytest.mark.process
def test_an_unknown_model_is_named(hub: HubStandIn, tmp_path: Path) -> None:
    assert "There is no model org/nothing" in refused(door(hub, tmp_path, "org/nothing"))
    assert not (tmp_path / "models").exists()


@pytest.mark.process
def test_a_name_that_is_none_is_refused(hub: HubStandIn, tmp_path: Path) -> None:
    assert "looks like org/name" in refused(door(hub, tmp_path, "../../etc"))


@pytest.mark.process
def test_no_network_is_a_sentence(hub: HubStandIn, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so connections are refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        sentence = refused(door(hub, tmp_path, "org/tiny", HF_ENDPOINT=address))
    assert f"{address} cannot be reached" in sentence


@pytest.mark.process
def test_downloads_switched_off_are_a_sentence(hub: HubStandIn, tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" in refused(door(hub, tmp_path, "org/tiny", HF_HUB_OFFLINE="1"))


@pytest.mark.process
def test_a_hub_in_trouble_is_a_sentence(hub: HubStandIn, tmp_path: Path) -> None:
    hub.status = 503
    assert "status 503" in refused(door(hub, tmp_path, "org/tiny"))


@pytest.mark.process
def test_a_model_larger_than_the_disk_is_refused_before_a_byte_is_fetched(hub: HubStandIn, tmp_path: Path) -> None:
    hub.claimed_sizes[next(iter(SHARDS))] = 10**18
    sentence = refused(door(hub, tmp_path, "org/tiny"))
    assert "needs 1000000000.0 GB" in sentence
    assert "are free" in sentence and "--to" in sentence
    assert hub.fetched("config.json") == []


def test_a_repository_that_holds_no_model_is_refused(hub: HubStandIn, folder: Path) -> None:
    del hub.files["config.json"]
    with pytest.raises(DownloadError, match=r"no config\.json"):
        download("org/tiny", folder, endpoint=hub.url)
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    with pytest.raises(DownloadError, match="safetensors"):
        download("org/tiny", folder, endpoint=hub.url)
    assert not folder.exists()


@pytest.mark.process
def test_two_downloads_into_one_folder_do_not_meet(hub: HubStandIn, tmp_path: Path) -> None:
    hub.files["tokenizer.json"] = b"{}"
    hub.stall_after = MIB
    folder = tmp_path / "here"
    command = [sys.executable, str(ROOT / "download_model.py"), "org/tiny", "--to", str(folder)]
    first = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(hub, tmp_path),
        stdout=subprocess.DEVNULL,
    )
    try:
        assert hub.stalled.wait(60)
        assert "is under way" in refused(door(hub, tmp_path, "org/tiny", "--to", str(folder)))
    finally:
        first.send_signal(signal.SIGINT)
        assert first.wait(30) == 1


@pytest.mark.process
def test_the_understudy_needs_no_download(hub: HubStandIn, tmp_path: Path) -> None:
    result = door(hub, tmp_path, "understudy")
    assert result.returncode == 0 and "nothing to download" in result.stdout
    assert hub.requests == []


def test_one_set_of_weights_is_chosen() -> None:
    assert needed_files(["config.json", "model.safetensors", "consolidated.safetensors"]) == [
        "config.json",
        "model.safetensors",
    ]
    assert "model.safetensors" not in needed_files([*NEEDED, "model.safetensors"])
    assert needed_files(["weights.safetensors", "sub/config.json", "..\\config.json"]) == ["weights.safetensors"]


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", *SHARDS, "model.safetensors.index.json"])
def test_a_folder_that_lacks_something_is_not_complete(tmp_path: Path, lost: str) -> None:
    for name, content in NEEDED.items():
        (tmp_path / name).write_bytes(content)
    assert is_complete(tmp_path)
    (tmp_path / lost).unlink()
    assert not is_complete(tmp_path)


def test_a_weight_file_cut_short_is_not_complete(tmp_path: Path) -> None:
    for name, content in NEEDED.items():
        (tmp_path / name).write_bytes(content)
    name = next(iter(SHARDS))
    for kept in (0, 4, 20, len(NEEDED[name]) - 1):
        (tmp_path / name).write_bytes(NEEDED[name][:kept])
        assert not is_complete(tmp_path), kept
    (tmp_path / name).write_bytes(NEEDED[name])
    (tmp_path / UNFINISHED).mkdir()
    assert not is_complete(tmp_path)


def test_a_models_folder_is_one_level_deep(tmp_path: Path) -> None:
    assert folder_of("org/tiny", tmp_path) == tmp_path / "org--tiny"
    assert not is_complete(folder_of("org/tiny", tmp_path))
