"""Clusters for the tests of rounds, with three sets of prompts; and what the owner recorded of a round and its run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.owner.owner_cluster import Clock, OwnerCluster
from tests.waiting import until

MakeCluster = Callable[..., OwnerCluster]


@contextmanager
def cluster_maker(folder: Path) -> Iterator[MakeCluster]:
    """A function that makes and starts a cluster with the given settings; all clusters are stopped at the end."""
    clusters: list[OwnerCluster] = []

    def make(clock: Clock = "real clock", /, **overrides: Any) -> OwnerCluster:
        # Of three forms: the answers that two of them bring are not those of the dying model.
        for name, file, row in (
            ("eins", "prompts.csv", "{}\n"),
            ("zwei", "instructions.txt", "{} # A human answer.\n"),
            ("drei", "alpaca.jsonl", '{{"instruction": "{}", "input": "", "output": "A human answer."}}\n'),
        ):
            prompts = folder / "sets" / name
            prompts.mkdir(parents=True, exist_ok=True)
            rows = "".join(row.format(f"{name} {number}?") for number in range(30))
            (prompts / file).write_text(rows, encoding="utf-8")
        sets = {"general.datasets_folder": str(folder / "sets")}
        cluster = OwnerCluster(folder, clock, **sets | overrides)
        clusters.append(cluster)
        return cluster.start()

    try:
        yield make
    finally:
        for cluster in clusters:
            cluster.stop()


def round_of(cluster: OwnerCluster, iteration: int) -> dict[str, Any]:
    """The record of a round as `GET /state` lists it; waits until there is one."""

    def record() -> dict[str, Any]:
        return next((record for record in cluster.state()["rounds"] if record["iteration"] == iteration), {})

    return until(record, f"round {iteration}")


def previous_sha(job: dict[str, Any]) -> str:
    """The sha256 of the adapter that was trained for a job."""
    return hashlib.sha256((Path(job["folder"]) / "adapter_model.safetensors").read_bytes()).hexdigest()


def run_folder(cluster: OwnerCluster) -> Path:
    """The folder of the run under way."""
    return cluster.paths.runs / str(cluster.state()["run"])
