"""A graphics card falls off the bus of a pretended pod: it is named, the other one answers and trains, and both do when it is back.

Pretended: the cards, and that a process dies with its own (`tests/launcher/pretended_pod.py`).  All else is real.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.launcher.launched_standins import until
from tests.launcher.operated_cluster import START_SECONDS
from tests.launcher.pretended_pod import PretendedPod, started_pod
from wmkml.launcher.supervision.gpu_watch import ASK_SECONDS, BACK_SECONDS, GONE_SECONDS, GpuWatch
from wmkml.system.gpus import Gpu, visible_gpus

CARDS = tuple(Gpu(index, "NVIDIA A100", 80.0) for index in range(3))


class Looks:
    """A watch whose clock and whose machine the test sets."""

    def __init__(self) -> None:
        self.now, self.there = 0.0, CARDS
        self.watch = GpuWatch(CARDS, lambda: self.there, lambda: self.now)

    def after(self, seconds: float) -> list[int] | None:
        """What is to be used, where that changes within so many seconds; each second it is looked once."""
        for _ in range(round(seconds)):
            self.now += 1
            present = self.watch.look()
            time.sleep(0.002)  # the question is answered in a thread
            if present is not None:
                return [gpu.index for gpu in present]
        return None


def test_a_card_is_gone_after_a_while_and_back_after_a_longer_one() -> None:
    looks = Looks()
    assert looks.after(60) is None
    looks.there = CARDS[1:]
    assert looks.after(GONE_SECONDS - ASK_SECONDS) is None
    assert looks.after(4 * ASK_SECONDS) == [1, 2]
    assert looks.after(60) is None, "it is told once"
    looks.there = CARDS
    assert looks.after(BACK_SECONDS - ASK_SECONDS) is None
    looks.there = CARDS[1:]
    assert looks.after(10 * ASK_SECONDS) is None, "a loose contact"
    looks.there = CARDS
    assert looks.after(BACK_SECONDS + 4 * ASK_SECONDS) == [0, 1, 2]
    looks.there = ()
    assert looks.after(120) is None, "without any card there is nothing to plan with"
    looks.watch.close()


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretendedPod]:
    with started_pod(tmp_path_factory.mktemp("pod"), 2, transformers_for_vllm=True) as pod:
        yield pod


@pytest.mark.process
@pytest.mark.timeout(3 * START_SECONDS)
@pytest.mark.skipif(bool(visible_gpus()), reason="this machine has GPUs, which would compute in place of the CPU")
@pytest.mark.long
def test_answering_goes_on_where_the_other_card_lives_and_all_comes_back(pod: PretendedPod) -> None:
    pod.ask(pod.owner, "/language", {"language": "de"})
    assert pod.ask(pod.owner, "/generate_gui", {"prompt": "Was ist ein Hund?"})["text"]
    owner = pod.doors()["owner.py"]
    assert pod.problem("gpu_gone") is None

    pod.lose_card(0, "inference_owner.py")
    until(lambda: pod.problem("gpu_gone"), "the card to be named", 60)
    assert "NVIDIA A100" in str(pod.problem("gpu_gone"))
    until(lambda: cards_of(pod) == {"inference_owner.py": "1", "finetune_worker.py": "1"} or None, "the new plan", 120)
    until(lambda: serves(pod) or None, "the engine on the other card", 300)
    assert pod.ask(pod.owner, "/generate_gui", {"prompt": "Was ist eine Katze?"})["text"]
    iteration = pod.state()["iteration"]
    until(lambda: pod.state()["iteration"] > iteration or None, "a round that is trained on the same card", 300)
    assert pod.doors()["owner.py"] == owner, "the owner goes on, with its visitors"
    assert pod.problem("gpu_gone") is not None

    pod.bring_card_back(0)
    until(lambda: pod.problem("gpu_gone") is None or None, "the card to be seen", 60)
    until(lambda: cards_of(pod) == {"inference_owner.py": "0", "finetune_worker.py": "1"} or None, "the old plan", 180)
    until(lambda: serves(pod) or None, "the engine on its card", 300)
    assert pod.ask(pod.owner, "/generate_gui", {"prompt": "Was ist ein Haus?"})["text"]
    assert pod.doors()["owner.py"] == owner


def serves(pod: PretendedPod) -> bool:
    """Whether inference answers that it is healthy; while it imports its libraries it takes connections, and says nothing."""
    try:
        return pod.healthy(pod.inference)
    except subprocess.TimeoutExpired:
        return False


def cards_of(pod: PretendedPod) -> dict[str, str]:
    """The cards that inference and the worker see."""
    environments = pod.environments()
    doors = ("inference_owner.py", "finetune_worker.py")
    return {door: environments[door]["CUDA_VISIBLE_DEVICES"] for door in doors if door in environments}
