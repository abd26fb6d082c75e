"""That what is answered is on the disk before its reply is complete: the order in which a real owner asks it of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.owner.owner_cluster import OwnerCluster, owner_command
from tests.owner.system_calls import SystemCall, strace_command, system_calls
from tests.waiting import until

pytestmark = pytest.mark.process

WRITING = ("write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg")
SYNCING = ("fsync", "fdatasync")


@dataclass(frozen=True)
class TracedCluster:
    """A cluster whose owner is traced, and the trace."""

    cluster: OwnerCluster
    trace: Path

    def reply_end(self, mark: str) -> SystemCall | None:
        """The call that sent this text; None if none has yet."""
        return next((call for call in system_calls(self.trace) if call.is_of(*WRITING) and mark in call.text), None)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedCluster]:
    """A traced owner with a slow disk, in a run whose echoes are kept back: no pairs are written but the prompts' own."""
    folder = tmp_path_factory.mktemp("traced")
    cluster, trace = OwnerCluster(folder), folder / "trace"
    try:
        cluster.start_inference()
        tracing = strace_command(trace, *WRITING, *SYNCING, slow=SYNCING)
        cluster.start_owner(command=[*tracing, *owner_command(cluster.config)])
        until(lambda: cluster.state()["inference"] == "ready", "the owner to see inference")
        cluster.begin("de")
        cluster.behave(keeps_back=["echo"])
        yield TracedCluster(cluster, trace)
        cluster.behave(keeps_back=[])
    finally:
        cluster.stop()


def assert_synced_between(traced: TracedCluster, written: str, reply: str) -> None:
    """That the transaction which wrote one text to the log was synced before the other was sent."""
    end = until(lambda: traced.reply_end(reply), "the end of the reply in the trace")
    of_wal = [call for call in system_calls(traced.trace) if "run.sqlite-wal>" in call.text and call.began < end.began]
    of_row = [call for call in of_wal if call.is_of(*WRITING) and written in call.text]
    assert of_row, "the row is not in the file before its reply ends"
    # A transaction is one thread's; another may write a round's state behind it, which the reply need not wait for.
    own = [call for call in of_wal if call.thread == of_row[-1].thread]
    last_written = [call for call in own if call.is_of(*WRITING)][-1]
    synced = [call for call in own if call.is_of(*SYNCING) and call.text.endswith("= 0")]
    assert any(call.began > last_written.ended and call.ended < end.began for call in synced), (
        f"Written at line {last_written.ended}, the reply's end sent at line {end.began}, not synced between: {traced.trace}"
    )


def ask_chat(cluster: OwnerCluster, prompt: str) -> None:
    assert cluster.chat(prompt)[-1][0] == "end"


def ask_generate_gui(cluster: OwnerCluster, prompt: str) -> None:
    assert cluster.owner.post("/generate_gui", json={"prompt": prompt}).status_code == 200


@pytest.mark.parametrize(
    ("ask", "prompt", "mark"),
    [(ask_chat, "Was ist Tau?", "event: end"), (ask_generate_gui, "Was ist Eis?", r'"{\"text\":')],
    ids=["chat", "generate_gui"],
)
def test_a_pair_is_synced_to_the_disk_before_its_reply_ends(
    traced: TracedCluster, ask: Callable[[OwnerCluster, str], None], prompt: str, mark: str
) -> None:
    ask(traced.cluster, prompt)
    assert_synced_between(traced, prompt, mark)


def test_a_claim_is_synced_to_the_disk_before_it_is_answered(traced: TracedCluster) -> None:
    """Else an owner that is killed would offer the round again, and refuse the first step of the worker that has it."""
    job = traced.cluster.claim("session of a claim that is saved")
    assert_synced_between(traced, "session of a claim that is saved", job["folder"])
