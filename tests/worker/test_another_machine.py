"""A worker on another machine, as far as one machine can be two: a network namespace of its own, and nothing of the owner's disk.

Real processes of worker and owner, over a virtual cable; inference is a stand-in.  Needs root, and Debian's iproute2.
"""

from __future__ import annotations

import ipaddress
import random
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.owner.owner_cluster import OwnerCluster, started_cluster
from tests.owner.round_clusters import round_of, run_folder
from tests.training.tiny_model import make_tiny_model
from tests.worker.continued_training import LEARNING_RATES, assert_continued
from tests.worker.worker_process import WorkerProcess, started_worker, wait_for
from wmkml.config.addresses import owner_url

pytestmark = pytest.mark.process

SAMPLES = 8
STEPS = 2
"""Steps of a round: of all its samples, in two epochs."""

HOLD_SECONDS = 600.0
"""How long an adapter is held by the owner's clock: longer than the test may take."""

FOR_BENCHMARKS = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses that nobody has (RFC 2544)."""


def ip(*words: str, refusable: bool = False) -> None:
    """Run iproute2's `ip`; skips the test where this is refused and may be."""
    program = shutil.which("ip")
    assert program is not None, "This test needs ip (Debian's package iproute2), which run_tests.sh installs."
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode and refusable:
        pytest.skip(f"No second machine can be made of this one: ip {' '.join(words)}: {done.stderr.strip()}")
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@dataclass(frozen=True)
class OtherMachine:
    """A network namespace, which has no other way than the cable to `owner_address`."""

    name: str
    owner_address: str

    def command(self, hidden: Path) -> list[str]:
        """The beginning of a command that is run there, with an empty folder in place of this one."""
        script = 'mount -t tmpfs none "$1" && shift && exec "$@"'
        return ["ip", "netns", "exec", self.name, "sh", "-c", script, "sh", str(hidden)]


@contextmanager
def other_machine() -> Iterator[OtherMachine]:
    """Another machine at a cable to this one; both are gone at the end."""
    name = f"wmkml-{secrets.token_hex(3)}"
    here, there = f"{name}-a", f"{name}-b"
    offset = 4 * random.randrange(FOR_BENCHMARKS.num_addresses // 4)
    owner_address, address = FOR_BENCHMARKS[offset + 1], FOR_BENCHMARKS[offset + 2]
    ip("netns", "add", name, refusable=True)
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name, refusable=True)
        ip("address", "add", f"{owner_address}/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "address", "add", f"{address}/30", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        yield OtherMachine(name, str(owner_address))
    finally:
        ip("netns", "delete", name)  # and the cable with it


@pytest.fixture
def machine() -> Iterator[OtherMachine]:
    with other_machine() as machine:
        yield machine


@pytest.fixture
def cluster(machine: OtherMachine, tmp_path: Path) -> Iterator[OwnerCluster]:
    """An owner that listens at the cable, and switches an adapter in when the test puts its clock forward."""
    settings = {
        "general.owner_host": machine.owner_address,
        "finetuning.num_total_iters": 2,
        "finetuning.duration_of_a_run": 10 * HOLD_SECONDS,
        "finetuning.samples_by_iteration": SAMPLES,
        "finetuning.sample_increase_by_iteration": 0,
        "finetuning.minimum_iteration_time": HOLD_SECONDS,
    }
    (tmp_path / "here").mkdir()
    with started_cluster(tmp_path / "here", "forward clock", **settings, **LEARNING_RATES) as cluster:
        yield cluster


@contextmanager
def worker_elsewhere(
    machine: OtherMachine, cluster: OwnerCluster, folder: Path, model: Path
) -> Iterator[WorkerProcess]:
    """A worker there, started as README says: with the owner's address, its key, and `worker_shares_folder`."""
    arguments = ["--owner", owner_url(cluster.settings), "--set", "finetuning.worker_shares_folder=false"]
    inside = machine.command(hidden=cluster.folder)
    with started_worker(folder, model, key=cluster.keys.worker, arguments=arguments, inside=inside) as worker:
        wait_for(lambda: "Claiming rounds" in worker.log_text(), worker)
        assert list(Path(f"/proc/{worker.process.pid}/root{cluster.folder}").iterdir()) == []
        yield worker


def test_rounds_are_trained_on_another_machine(machine: OtherMachine, cluster: OwnerCluster, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny")
    cluster.begin("de")
    with worker_elsewhere(machine, cluster, tmp_path / "there", model) as worker:
        wait_for(lambda: round_of(cluster, 0)["status"] == "held", worker)
        wait_for(lambda: "Round 0 was accepted" in worker.log_text(), worker)
        wait_for(lambda: not (worker.data / "worker").exists(), worker)

    # Another worker, since the first has the adapter in its memory.
    with worker_elsewhere(machine, cluster, tmp_path / "there too", model) as worker:
        cluster.advance(HOLD_SECONDS)
        wait_for(lambda: round_of(cluster, 1)["status"] == "held", worker)
        wait_for(lambda: "Round 1 was accepted" in worker.log_text(), worker)
        wait_for(lambda: not (worker.data / "worker").exists(), worker)
    cluster.advance(HOLD_SECONDS)
    cluster.until_iteration(1)
    assert [round_of(cluster, number)["attempt"] for number in (0, 1)] == [1, 1]
    adapters = run_folder(cluster) / "adapters"
    assert_continued(adapters / "iteration-0-attempt-1", adapters / "iteration-1-attempt-1", STEPS)
