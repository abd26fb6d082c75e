"""Memory runs out beside the real cluster: a problem says so before it does, the kernel ends what can be spared, and it comes back.

The cluster runs in a control group of its own, whose limit the test sets; a program in the same group takes what is left.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.launcher.launched_standins import until
from tests.launcher.no_network import NetworkNamespace
from tests.launcher.operated_cluster import ROOT, START_SECONDS, OperatedCluster
from wmkml.launcher.supervision.supervisor import cluster_mark
from wmkml.system.control_groups import group_folders
from wmkml.system.orphans import end_marked_processes

MIB = 2**20
LEFT = 900 * MIB
"""What the limit leaves, beyond what the cluster takes."""

BALLOON = """
import sys, time
open("/proc/self/oom_score_adj", "w").write("-1000")
blocks = []
for line in sys.stdin:  # one block for each line
    blocks.append(b"x" * int(line))
    print(len(blocks), flush=True)
time.sleep(1000)
"""
"""A program that takes memory, and that the kernel may not kill."""


class MemoryGroup:
    """A control group with a memory limit, below this process's own."""

    def __init__(self) -> None:
        """Raises OSError where none can be made."""
        for folder in group_folders("memory"):
            for self._limit, self._usage, nothing in (
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "-1"),
                ("memory.max", "memory.current", "max"),
            ):
                if (folder / self._limit).is_file():
                    self._nothing, self.folder = nothing, folder / f"wmkml-test-{os.getpid()}"
                    self.folder.mkdir()
                    if (self.folder / self._limit).is_file():
                        return
                    self.folder.rmdir()
        raise OSError("no control group of this machine has a memory limit")

    def prefix(self) -> list[str]:
        """The words before a command that runs in this group."""
        return ["sh", "-c", f'echo $$ > "{self.folder}/cgroup.procs" && exec "$@"', "sh"]

    def used(self) -> int:
        """Bytes, without the files that were read."""
        counted = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        cached = int(counted["inactive_file"]) + int(counted["active_file"])
        return int((self.folder / self._usage).read_text()) - cached

    def limit(self, size: int | None) -> None:
        """Set the limit, in bytes; None: there is none."""
        (self.folder / self._limit).write_text(self._nothing if size is None else str(size))


class LimitedCluster(OperatedCluster):
    """A cluster in a control group of its own."""

    def __init__(self, folder: Path, group: MemoryGroup) -> None:
        super().__init__(folder, NetworkNamespace())
        self.group = group

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the launcher in the group."""
        command = [
            sys.executable,
            "-m",
            "wmkml.launcher",
            *words,
            "--config",
            str(self.config),
            "--engine",
            "transformers",
        ]
        return subprocess.run(
            [*self.group.prefix(), *command],
            cwd=ROOT,
            env=os.environ | {"WMKML_GPUS": "0"},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LimitedCluster]:
    try:
        group = MemoryGroup()
    except OSError as error:
        pytest.skip(f"no memory limit can be set here: {error}")
    cluster = LimitedCluster(tmp_path, group)
    try:
        done = cluster.call("start")
        assert done.returncode == 0, done.stdout + done.stderr
        yield cluster
    finally:
        group.limit(None)
        cluster.call("stop")
        end_marked_processes(cluster_mark(cluster.data))
        with contextlib.suppress(OSError):  # what ended a moment ago may still be in it
            time.sleep(1)
            group.folder.rmdir()


@pytest.mark.process
@pytest.mark.long
@pytest.mark.timeout(2 * START_SECONDS)
def test_memory_that_runs_out_is_named_first_and_costs_a_round_at_most(cluster: LimitedCluster) -> None:
    cluster.ask(cluster.owner, "/language", {"language": "de"})
    answers = []
    for number in range(3):
        events = cluster.stream({"prompt": f"Was ist ein Haus? {number}", "station": "a"}).until_end()
        answers.append(next(data["pair"] for name, data in events if name == "end"))
    before = cluster.doors()
    scores = {door: int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for door, pid in before.items()}
    assert scores["finetune_worker.py"] > scores["inference_owner.py"] > scores["owner.py"]
    cluster.group.limit(cluster.group.used() + LEFT)
    assert cluster.problem("memory") is None

    balloon = subprocess.Popen(
        [*cluster.group.prefix(), sys.executable, "-c", BALLOON],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert balloon.stdin is not None and balloon.stdout is not None
        named_at: int | None = None
        for block in range(LEFT // (50 * MIB) + 20):
            balloon.stdin.write(f"{50 * MIB}\n")
            balloon.stdin.flush()
            balloon.stdout.readline()
            time.sleep(1.2)  # the owner looks once a second
            kills = cluster.problem("memory_kills")
            if named_at is None and cluster.problem("memory") is not None:
                assert kills is None, "it is named before it is too late"
                named_at = block
            if kills is not None:
                break
        assert named_at is not None
        assert kills is not None
    finally:
        balloon.kill()
        balloon.wait()
    cluster.group.limit(None)

    assert cluster.doors().get("owner.py") == before["owner.py"], "the owner is the last to go"
    gone = [door for door, pid in before.items() if not psutil.pid_exists(pid)]
    assert gone and "owner.py" not in gone
    until(lambda: (cluster.state()["inference"], cluster.state()["worker"]) == ("ready", "ready") or None, "all", 300)
    until(lambda: cluster.problem("memory") is None or None, "the problem to go", 60)
    assert set(answers) <= {pair["pair"] for pair in cluster.operator_sees("/operator/pairs?words=1")["pairs"]}
    assert cluster.ask(cluster.owner, "/generate_gui", {"prompt": "Was ist ein Hund?"})["text"]
