"""Adapters that must not be served, at every door that takes some: none may answer, and the run must go on.

Each is made from an adapter that a round of this cluster has trained, so that it is wrong in one way alone.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from wmkml.protocol.conversation import ChatRequest
from wmkml.protocol.run_state import RunState
from wmkml.rehearsal.visitors import ask
from wmkml.siege.options import SiegeOptions
from wmkml.siege.report import SectionReport
from wmkml.siege.sieged_cluster import SiegedCluster, say

BAD_ITERATION = 900
"""The iteration that bad adapters are offered as: no run of a siege gets there."""


class Opened:
    """Unpickled, this makes a file: who sees it has run the attacker's code."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self._trace}",))


class Weights:
    """A safetensors file in memory: its header, and the tensors' bytes."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        self.header: dict[str, Any] = json.loads(content[8 : 8 + length])
        self.body = bytearray(content[8 + length :])

    @property
    def names(self) -> list[str]:
        """The tensors' names."""
        return [name for name in self.header if name != "__metadata__"]

    def fill(self, name: str, number: float) -> None:
        """Give the first numbers of a tensor this value."""
        begin, end = self.header[name]["data_offsets"]
        part = struct.pack("<f", number)
        if self.header[name]["dtype"] != "F32":
            part = part[2:]  # bfloat16 is the upper half of a float32
        count = min(4, (end - begin) // len(part))
        self.body[begin : begin + count * len(part)] = part * count

    def rename(self, change: Callable[[str], str]) -> None:
        """Change the tensors' names."""
        self.header = {change(name) if name != "__metadata__" else name: entry for name, entry in self.header.items()}

    def write(self, path: Path) -> None:
        """Write the file."""
        header = json.dumps(self.header).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(self.body))


def _filled(number: float) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, _trace: Path) -> None:
        weights = Weights(folder / WEIGHTS_FILE)
        weights.fill(weights.names[0], number)
        weights.write(folder / WEIGHTS_FILE)

    return spoil


def _renamed(change: Callable[[str], str]) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, _trace: Path) -> None:
        weights = Weights(folder / WEIGHTS_FILE)
        weights.rename(change)
        weights.write(folder / WEIGHTS_FILE)

    return spoil


def _configured(**changes: Any) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, _trace: Path) -> None:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        (folder / CONFIG_FILE).write_text(json.dumps(config | changes), encoding="utf-8")

    return spoil


def _cut(share: float) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, _trace: Path) -> None:
        content = (folder / WEIGHTS_FILE).read_bytes()
        (folder / WEIGHTS_FILE).write_bytes(content[: int(len(content) * share)])

    return spoil


def _another_rank(folder: Path, _trace: Path) -> None:
    """Half the rows of every A and half the columns of every B, and a configuration that tells so."""
    weights = Weights(folder / WEIGHTS_FILE)
    for name in weights.names:
        shape = weights.header[name]["shape"]
        side = 0 if ".lora_A." in name else 1
        shape[side] //= 2
        begin, end = weights.header[name]["data_offsets"]
        weights.header[name]["data_offsets"] = [begin // 2, begin // 2 + (end - begin) // 2]
    weights.body = weights.body[: len(weights.body) // 2]
    weights.write(folder / WEIGHTS_FILE)
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"r": config["r"] // 2}), encoding="utf-8")


def _pickled(folder: Path, trace: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(pickle.dumps(Opened(trace)))


def _pickled_beside(folder: Path, trace: Path) -> None:
    """No safetensors, and a pickle under the name that PEFT had before."""
    (folder / WEIGHTS_FILE).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Opened(trace)))


def _linked(target: str) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, _trace: Path) -> None:
        (folder / WEIGHTS_FILE).unlink()
        (folder / WEIGHTS_FILE).symlink_to(target)

    return spoil


def _half_missing(folder: Path, _trace: Path) -> None:
    weights = Weights(folder / WEIGHTS_FILE)
    del weights.header[next(name for name in weights.names if ".lora_B." in name)]
    weights.write(folder / WEIGHTS_FILE)


def _written(name: str, content: bytes) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, _trace: Path) -> None:
        (folder / name).write_bytes(content)

    return spoil


BAD_ADAPTERS: dict[str, Callable[[Path, Path], None]] = {
    "NaN": _filled(float("nan")),
    "infinite": _filled(float("inf")),
    "numbers that overflow": _filled(3e37),
    "truncated": _cut(0.5),
    "truncated by a byte": _cut(0.999999),
    "an empty file": _cut(0.0),
    "a header that claims more than there is": _written(WEIGHTS_FILE, struct.pack("<Q", 2**62) + b"{}"),
    "another rank": _another_rank,
    "another rank in the configuration": _configured(r=1024),
    "of another model": _renamed(lambda name: name.replace(".lora_", "_elsewhere.lora_")),
    "of a larger model": _renamed(lambda name: name.replace(".0.", ".77.")),
    "half of each pair missing": _half_missing,
    "pickled": _pickled,
    "pickled beside": _pickled_beside,
    "a link to a file of the system": _linked("/etc/passwd"),
    "a link to an endless file": _linked("/dev/zero"),
    "a configuration that is no JSON": _written(CONFIG_FILE, b"\xff{"),
    "a configuration that is a list": _written(CONFIG_FILE, b"[]"),
    "no LoRA": _configured(peft_type="PREFIX_TUNING"),
    "DoRA": _configured(use_dora=True),
    "an alpha that is no number": _configured(lora_alpha="NaN"),
}
"""Each takes a copy of a good adapter and spoils it; the second path is what a pickle makes when it is opened."""


BAD_PATHS = 7
"""Paths that are offered at the owner alone."""

BAD_ARCHIVES = 7
"""Archives that are offered at the worker's door."""


async def attack_adapters(cluster: SiegedCluster, options: SiegeOptions, report: SectionReport) -> None:
    """Offer every bad adapter at the owner's `/reload` and at inference's, bad paths, and bad archives at the worker's door."""
    await cluster.until_ready()
    run = await cluster.begin_run()
    state = await cluster.until(lambda: _accepted(cluster), "a round to be accepted")
    folder = cluster.paths.runs / run
    good = sorted(path for path in (folder / "adapters").iterdir() if (path / WEIGHTS_FILE).is_file())[0]
    workshop, trace = folder / "siege", cluster.folder / "opened"
    outside = cluster.folder / "outside"
    shutil.copytree(good, outside)
    paths: dict[str, str] = {
        "a path outside": str(outside),
        "a path that climbs out": f"{folder}/../../../{outside.name}",
        "a folder of the system": "/etc",
        "a path that is not there": str(folder / "nothing"),
        "a path with a zero": f"{folder}\x00/x",
        "an endless path": "/x" * 1500,
    }
    for name, spoil in BAD_ADAPTERS.items():
        copy = workshop / f"bad-{len(paths)}"
        shutil.copytree(good, copy)
        spoil(copy, trace)
        paths[name] = str(copy)
    link = workshop / "link"
    link.symlink_to(outside)
    paths["a link to a folder outside"] = str(link)
    async with httpx.AsyncClient(base_url=cluster.inference_address, timeout=120, trust_env=False) as inference:
        for name, path in paths.items():
            for door, client in (("owner", cluster.client), ("inference", inference)):
                if options.time_is_up():
                    return
                if door == "inference" and name not in BAD_ADAPTERS:
                    continue  # who has the operator's key may name any folder there: the owner is what asks it
                await _offer(cluster, client, door, name, path, report)
        await _offer_archives(cluster, good, trace, report)
        served = (await inference.get("/v1/models", headers={"X-Key": cluster.keys.operator})).text
    if f"{BAD_ITERATION}" in served:
        report.add_problem("Inference lists a bad adapter among its models.")
    if trace.exists():
        report.add_problem("A pickle was opened.")
    after = await cluster.until(cluster.state, "the owner")
    if after.iteration >= BAD_ITERATION or after.run != state.run:
        report.add_problem(f"Iteration {after.iteration} answers in the end.")
    say(f"adapters: {report.held} of {report.tried} held.")
    await cluster.end_run()


async def _accepted(cluster: SiegedCluster) -> RunState | None:
    state = await cluster.state()
    return state if state is not None and state.iteration >= 0 else None


async def _offer(
    cluster: SiegedCluster, client: httpx.AsyncClient, door: str, name: str, path: str, report: SectionReport
) -> None:
    report.tried += 1
    report.count(f"offered at {door}")
    body = {"path": path, "iteration": BAD_ITERATION}
    try:
        response = await client.post("/reload", json=body, headers={"X-Key": cluster.keys.operator})
    except httpx.HTTPError as error:
        report.add_problem(f"{name}, at {door}: no answer ({type(error).__name__}).")
        return
    if not 400 <= response.status_code < 500:
        report.add_problem(f"{name}, at {door}: status {response.status_code}.")
    elif await _still_answers(cluster, f"{name}, at {door}", report):
        report.held += 1


async def _still_answers(cluster: SiegedCluster, name: str, report: SectionReport) -> bool:
    """Whether a visitor is answered, by an iteration that is no bad adapter's."""
    visit = await ask(cluster.client, ChatRequest(prompt="Was ist ein Haus?", station="siege-adapters"))
    if visit.failure is not None:
        report.add_problem(f"After {name} a visitor {visit.failure.rstrip('.')}.")
        return False
    if (visit.iteration or 0) >= BAD_ITERATION:
        report.add_problem(f"{name} was served.")
        return False
    return True


def _archives(good: Path, trace: Path) -> dict[str, bytes]:
    """Archives that a worker must not hand in, by what is wrong with them."""

    def packed(*members: tuple[str, bytes, bytes]) -> bytes:
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w") as tar:
            for name, content, kind in members:
                member = tarfile.TarInfo(name)
                member.type, member.size = kind, len(content) if kind == tarfile.REGTYPE else 0
                member.linkname = "/etc/passwd"
                tar.addfile(member, io.BytesIO(content))
        return body.getvalue()

    config = (good / CONFIG_FILE).read_bytes()
    weights, file = (good / WEIGHTS_FILE).read_bytes(), tarfile.REGTYPE
    return {
        "no archive": b"PK\x03\x04" * 64,
        "an empty archive": b"",
        "half an archive": packed((CONFIG_FILE, config, file), (WEIGHTS_FILE, weights, file))[: len(weights) // 2],
        "an archive that climbs out": packed(
            (f"../{CONFIG_FILE}", config, file), (f"/tmp/{WEIGHTS_FILE}", weights, file)
        ),
        "an archive of links": packed((CONFIG_FILE, config, file), (WEIGHTS_FILE, b"", tarfile.SYMTYPE)),
        "an archive of devices": packed((CONFIG_FILE, config, file), (WEIGHTS_FILE, b"", tarfile.CHRTYPE)),
        "an archive with a pickle": packed(
            (CONFIG_FILE, config, file), (WEIGHTS_FILE, pickle.dumps(Opened(trace)), file)
        ),
    }


async def _offer_archives(cluster: SiegedCluster, good: Path, trace: Path, report: SectionReport) -> None:
    for name, content in _archives(good, trace).items():
        state = await cluster.until(cluster.state, "the owner")
        round_ = state.round
        report.tried += 1
        report.count("offered at the worker's door")
        place = f"/worker/rounds/{state.run}/{0 if round_ is None else round_.iteration}/{1 if round_ is None else round_.attempt}"
        headers = {"X-Key": cluster.keys.worker, "X-Sha256": "0" * 64}
        response = await cluster.client.put(f"{place}/adapter", content=content, headers=headers)
        if not 400 <= response.status_code < 500:
            report.add_problem(f"{name}: status {response.status_code}.")
        elif await _still_answers(cluster, name, report):
            report.held += 1
