"""The worker as a real process, claiming over real HTTP from a stand-in of the owner."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.tiny_model import PAIRS, make_tiny_model, trainer_of
from tests.worker_owner_stand_in import KEY, OwnerStandIn
from wmkml import wire
from wmkml.training.loop import Unwatched
from wmkml.training.lora import CONFIG_FILE, WEIGHTS_FILE
from wmkml.training.rounds import Previous, Round
from wmkml.worker.parcels import ParcelBroken, packed, unpack

ROOT = Path(__file__).parent.parent
CANARY = "kanarienvogel-7391-quastenflosser"
LONG = [("Was ist Zeit?", "Zeit vergeht, und Zeit vergeht. " * 60)] * 24
"""A round that takes the tiny model a good while."""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@contextmanager
def listening() -> Iterator[OwnerStandIn]:
    stand_in = OwnerStandIn()
    stand_in.come()
    yield stand_in
    stand_in.leave()


@pytest.fixture
def own_owner() -> Iterator[OwnerStandIn]:
    """An owner for a worker of the test's own."""
    with listening() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def shared_owner() -> Iterator[OwnerStandIn]:
    with listening() as stand_in:
        yield stand_in


@pytest.fixture
def owner(shared_owner: OwnerStandIn) -> OwnerStandIn:
    """The owner of the worker that most tests share."""
    shared_owner.forget()
    return shared_owner


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    log: Path
    data: Path
    before: int = 0

    def told(self) -> str:
        """Its log, without what it told in tests before."""
        return self.log.read_bytes()[self.before :].decode()


@contextmanager
def working(
    owner: OwnerStandIn, model: Path, folder: Path, *, key: str = KEY, shares_folder: bool = True
) -> Iterator[Worker]:
    """A worker of its own, with rank 4, no dropout, steps of four samples."""
    config = {
        "general": {"owner_port": owner.port, "data_folder": "data", "logging": "DEBUG"},
        "finetuning": {
            "lora_r": 4,
            "lora_alpha": 8,
            "lora_dropout": 0.0,
            "batch_size": 4,
            "precision": "float32",
            "worker_shares_folder": shares_folder,
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "finetune_worker.py", "--config", str(folder / "config.yaml"), "--model", str(model)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "WMKML_WORKER_KEY": key},
        )
    try:
        yield Worker(process, log, folder / "data")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def shared_worker(
    shared_owner: OwnerStandIn, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    with working(shared_owner, model_folder, tmp_path_factory.mktemp("worker")) as worker:
        until(lambda: shared_owner.claims, worker)
        yield worker


@pytest.fixture
def worker(shared_worker: Worker) -> Worker:
    """One that most tests share, since loading torch takes longer than they do."""
    shared_worker.before = shared_worker.log.stat().st_size
    return shared_worker


def until(true: Callable[[], object], worker: Worker, seconds: float = 120) -> None:
    """Wait for something; a worker that ended, or did nothing so long, fails the test with its log."""
    end = time.monotonic() + seconds
    while not true():
        assert worker.process.poll() is None, worker.told()
        assert time.monotonic() < end, worker.told()
        time.sleep(0.02)


def job(
    folder: Path,
    iteration: int = 0,
    *,
    pairs: list[tuple[str, str]] | None = None,
    previous: wire.AdapterPlace | None = None,
    lease: float = 30.0,
) -> wire.RoundJob:
    samples = [wire.Sample(prompt=prompt, answer=answer) for prompt, answer in (pairs or PAIRS)]
    return wire.RoundJob(
        run="run-1",
        iteration=iteration,
        attempt=1,
        learning_rate=0.003,
        samples=samples,
        previous=previous,
        folder=str(folder / f"iteration-{iteration}"),
        seed=11,
        lease_seconds=lease,
    )


def sha256_of(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()


def expected(model: Path, folder: Path, iterations: int) -> Path:
    """The adapter of the last of so many rounds, trained in this process."""
    trainer, previous = trainer_of(model, samples_per_step=4), None
    folder.mkdir(exist_ok=True)
    for iteration in range(iterations):
        done = trainer.train(Round(PAIRS, 0.003, 11, previous, folder / f"expected-{iteration}"), Unwatched())
        previous = Previous(done.folder, done.sha256)
    return done.folder


def alike(one: Path, other: Path) -> bool:
    ours, theirs = load_file(one / WEIGHTS_FILE), load_file(other / WEIGHTS_FILE)
    return ours.keys() == theirs.keys() and all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)


def test_two_rounds_the_second_going_on_from_the_first(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    owner.offer(job(tmp_path))
    until(lambda: not owner.hand_ins.empty(), worker)
    first = owner.hand_ins.get()
    assert (Path(first.path), first.sha256) == (tmp_path / "iteration-0", sha256_of(tmp_path / "iteration-0"))
    assert [(one.step, one.steps) for one in owner.steps_of(0)] == [(number, 4) for number in range(1, 5)]
    losses = [one.loss for one in owner.steps_of(0)]
    assert (first.loss_first, first.loss_last) == (losses[0], losses[-1])
    assert first.tokens == owner.steps_of(0)[-1].tokens > 0
    assert first.train_seconds > 0
    assert first.seconds_since_last_step > 0

    owner.offer(job(tmp_path, 1, previous=wire.AdapterPlace(path=first.path, sha256=first.sha256, iteration=0)))
    until(lambda: not owner.hand_ins.empty(), worker)
    assert alike(tmp_path / "iteration-1", expected(model_folder, tmp_path, 2))
    assert len({claim.session for claim in owner.claims}) == 1
    assert all(claim.shares_folder for claim in owner.claims)


def test_after_a_refusal_the_round_begins_at_what_was_accepted(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    owner.accepts = False
    owner.offer(job(tmp_path))
    until(lambda: not owner.hand_ins.empty(), worker)
    owner.hand_ins.get()
    owner.offer(job(tmp_path, 1))
    until(lambda: not owner.hand_ins.empty(), worker)
    assert alike(tmp_path / "iteration-1", expected(model_folder, tmp_path, 1))


def test_it_survives_that_the_owner_is_away(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    owner.leave()
    until(lambda: "is away" in worker.told(), worker)
    owner.come()
    owner.offer(job(tmp_path, pairs=LONG))
    until(lambda: owner.steps_of(0), worker)
    owner.leave()
    until(lambda: (tmp_path / "iteration-0").exists(), worker)
    owner.come()
    until(lambda: not owner.hand_ins.empty(), worker)
    assert owner.hand_ins.get().sha256 == sha256_of(tmp_path / "iteration-0")
    assert "is back" in worker.told()


def test_a_round_that_is_called_off_is_dropped_and_the_next_is_claimed(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    owner.proceed = False
    owner.offer(job(tmp_path, pairs=LONG))
    until(lambda: "was dropped" in worker.told(), worker)
    assert owner.hand_ins.empty()
    assert not (tmp_path / "iteration-0").exists()
    owner.proceed = True
    owner.offer(job(tmp_path, 1))
    until(lambda: not owner.hand_ins.empty(), worker)
    assert owner.hand_ins.get().path == str(tmp_path / "iteration-1")


def test_a_run_that_ended_meanwhile_does_not_come_back(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    adapters = tmp_path / "runs" / "run-1" / "adapters"
    adapters.mkdir(parents=True)
    owner.offer(job(adapters, pairs=LONG))
    until(lambda: owner.steps_of(0), worker)
    shutil.rmtree(adapters.parent)
    until(lambda: "was dropped" in worker.told(), worker)
    assert not adapters.parent.exists()
    assert owner.hand_ins.empty() and owner.failures.empty()
    owner.offer(job(tmp_path, 1))
    until(lambda: not owner.hand_ins.empty(), worker)


def test_a_sign_of_life_keeps_the_lease(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    owner.offer(job(tmp_path, pairs=LONG, lease=0.15))
    until(lambda: any(report.step == 0 for _, report in owner.steps), worker)
    until(lambda: not owner.hand_ins.empty(), worker)


def test_a_round_that_cannot_be_trained_is_given_back(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    adapter = expected(model_folder, tmp_path, 1)
    place = wire.AdapterPlace(path=str(adapter), sha256="0" * 64, iteration=0)
    owner.offer(job(tmp_path, 1, previous=place))
    until(lambda: not owner.failures.empty(), worker)
    assert "sha256" in owner.failures.get()
    owner.offer(job(tmp_path, 2))
    until(lambda: not owner.hand_ins.empty(), worker)
    assert not (tmp_path / "iteration-1").exists()


def test_without_a_shared_folder_adapters_travel_both_ways(
    own_owner: OwnerStandIn, model_folder: Path, tmp_path: Path
) -> None:
    own_owner.wants_upload = True
    own_owner.adapters[0] = expected(model_folder, tmp_path, 1)
    elsewhere = Path("/nowhere/runs/run-1/adapters")
    with working(own_owner, model_folder, tmp_path / "worker", shares_folder=False) as worker:
        place = wire.AdapterPlace(
            path=str(elsewhere / "iteration-0"), sha256=sha256_of(own_owner.adapters[0]), iteration=0
        )
        own_owner.offer(job(elsewhere, 1, previous=place))
        until(lambda: own_owner.hand_ins.qsize() == 2, worker)
        body, sha256 = own_owner.uploads.get()
        assert own_owner.hand_ins.get().sha256 == sha256
        until(lambda: not (worker.data / "worker").exists(), worker)
        assert not own_owner.claims[-1].shares_folder
    unpack(body, tmp_path / "received", sha256)
    assert sorted(path.name for path in (tmp_path / "received").iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    assert alike(tmp_path / "received", expected(model_folder, tmp_path / "again", 2))


def test_no_word_of_a_sample_is_in_the_log(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    owner.offer(job(tmp_path, pairs=[(f"Was ist {CANARY}?", f"{CANARY} ist ein Wort.")]))
    until(lambda: not owner.hand_ins.empty(), worker)
    owner.offer(job(tmp_path / "no such", 1, pairs=[(CANARY, CANARY)]))
    until(lambda: not owner.hand_ins.empty(), worker)
    assert "Round 0, step" in worker.told()
    assert CANARY not in worker.told()


def test_a_message_it_does_not_understand_is_told_without_a_word_of_it(
    owner: OwnerStandIn, worker: Worker, model_folder: Path, tmp_path: Path
) -> None:
    broken = job(tmp_path, pairs=[(CANARY, CANARY)]).model_dump() | {"learning_rate": CANARY}
    owner.offer(broken)
    until(lambda: "learning_rate" in worker.told(), worker)
    assert CANARY not in worker.told()


def test_a_wrong_key_is_told_and_tried_again(own_owner: OwnerStandIn, model_folder: Path, tmp_path: Path) -> None:
    with working(own_owner, model_folder, tmp_path / "worker", key="another") as worker:
        until(lambda: "WMKML_WORKER_KEY" in worker.told(), worker)
        assert own_owner.refused_keys >= 1
        assert worker.process.poll() is None


def test_it_leaves_in_the_middle_of_a_round_when_told(
    own_owner: OwnerStandIn, model_folder: Path, tmp_path: Path
) -> None:
    with working(own_owner, model_folder, tmp_path / "worker") as worker:
        own_owner.offer(job(tmp_path, pairs=LONG))
        until(lambda: own_owner.steps_of(0), worker)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(timeout=60) == 0, worker.told()
    assert "Traceback" not in worker.told()
    assert not (tmp_path / "iteration-0").exists()


def test_a_missing_model_is_a_sentence(own_owner: OwnerStandIn, tmp_path: Path) -> None:
    with working(own_owner, tmp_path / "no-model", tmp_path / "worker") as worker:
        assert worker.process.wait(timeout=60) == 2
    assert "download_model.py" in worker.told()
    assert "Traceback" not in worker.told()


def tar_of(*names: str) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    return body.getvalue()


@pytest.mark.parametrize(
    "body",
    [b"", b"not a tar" * 100, tar_of(CONFIG_FILE), tar_of(f"../{CONFIG_FILE}", f"../{WEIGHTS_FILE}")],
    ids=["empty", "text", "half", "outside"],
)
def test_a_parcel_that_is_none_is_refused(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(ParcelBroken):
        unpack(body, tmp_path / "new", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_parcel_holds_what_was_packed_and_nothing_else(tmp_path: Path) -> None:
    body = tar_of(CONFIG_FILE, WEIGHTS_FILE, "other.txt")
    unpack(body, tmp_path / "new", hashlib.sha256(b"abc").hexdigest())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    again = packed(tmp_path / "new")
    unpack(again, tmp_path / "again", hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(ParcelBroken, match="sha256"):
        unpack(again, tmp_path / "third", "0" * 64)
