"""The worker as a real process, claiming over real HTTP from a stand-in of the owner."""

from __future__ import annotations

import hashlib
import io
import math
import shutil
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny_model import PAIRS, make_tiny_model, trainer_of
from tests.waiting import until
from tests.worker.owner_stand_in import KEY, OwnerStandIn
from tests.worker.worker_process import WorkerProcess, started_worker, wait_for
from wmkml.adapters.archive import ArchiveBrokenError, pack, unpack
from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from wmkml.adapters.probe import PROBE_FILE
from wmkml.measures.registry import TABLE
from wmkml.protocol.training import AdapterPlace, Claim, RoundJob, Sample
from wmkml.training.loop import NullWatcher
from wmkml.training.probing.model_probe import ModelReading
from wmkml.training.rounds import PreviousAdapter, TrainingRound
from wmkml.worker.owner_client import WorkerOwnerClient
from wmkml.worker.round_runner import WorkerResources, run_round

pytestmark = pytest.mark.process

PROBED = {measure.name for measure in TABLE.values() if "probe" in measure.windows.values()}
"""What the worker measures of the model."""

CANARY = "kanarienvogel-7391-quastenflosser"
LONG = [("Was ist Zeit?", "Zeit vergeht, und Zeit vergeht. " * 60)] * 24
"""Samples of a round that takes the tiny model several seconds."""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@contextmanager
def listening() -> Iterator[OwnerStandIn]:
    stand_in = OwnerStandIn()
    stand_in.start()
    yield stand_in
    stand_in.stop()


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
    shared_owner.reset()
    return shared_owner


@contextmanager
def working(
    owner: OwnerStandIn, model: Path, folder: Path, *, key: str = KEY, shares_folder: bool = True
) -> Iterator[WorkerProcess]:
    """A worker of its own, with steps of four samples."""
    general = {"owner_port": owner.port}
    finetuning = {"batch_size": 4, "worker_shares_folder": shares_folder}
    with started_worker(folder, model, key=key, general=general, finetuning=finetuning) as worker:
        yield worker


@pytest.fixture(scope="module")
def shared_worker(
    shared_owner: OwnerStandIn, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    with working(shared_owner, model_folder, tmp_path_factory.mktemp("worker")) as worker:
        wait_for(lambda: shared_owner.claims, worker)
        yield worker


@pytest.fixture
def worker(shared_worker: WorkerProcess) -> WorkerProcess:
    """The worker that most tests share, since loading torch takes longer than a test."""
    shared_worker.before = shared_worker.log.stat().st_size
    return shared_worker


def job(
    folder: Path,
    iteration: int = 0,
    *,
    pairs: list[tuple[str, str]] | None = None,
    previous: AdapterPlace | None = None,
    lease: float = 30.0,
) -> RoundJob:
    samples = [Sample(prompt=prompt, answer=answer) for prompt, answer in (pairs or PAIRS)]
    return RoundJob(
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
    """The folder of the last adapter after this number of rounds, trained in this process."""
    trainer, previous = trainer_of(model, samples_per_step=4), None
    folder.mkdir(exist_ok=True)
    for iteration in range(iterations):
        done = trainer.train(TrainingRound(PAIRS, 0.003, 11, previous, folder / f"expected-{iteration}"), NullWatcher())
        previous = PreviousAdapter(done.folder, done.sha256)
    return done.folder


def alike(first: Path, second: Path) -> bool:
    """Whether two adapters have the same weights, but for rounding."""
    left, right = load_file(first / WEIGHTS_FILE), load_file(second / WEIGHTS_FILE)
    return left.keys() == right.keys() and all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


def test_two_rounds_the_second_going_on_from_the_first(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    owner.offer(job(tmp_path))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    first = owner.hand_ins.get()
    assert (Path(first.path), first.sha256) == (tmp_path / "iteration-0", sha256_of(tmp_path / "iteration-0"))
    assert [(report.step, report.steps) for report in owner.steps_of(0)] == [(number, 4) for number in range(1, 5)]
    losses = [report.loss for report in owner.steps_of(0)]
    assert (first.loss_first, first.loss_last) == (losses[0], losses[-1])
    assert first.tokens == owner.steps_of(0)[-1].tokens > 0
    assert first.train_seconds > 0
    assert first.seconds_since_last_step > 0

    owner.offer(job(tmp_path, 1, previous=AdapterPlace(path=first.path, sha256=first.sha256, iteration=0)))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    assert alike(tmp_path / "iteration-1", expected(model_folder, tmp_path, 2))
    measured = owner.measures.get(timeout=60)
    assert set(measured.values) == PROBED | {"forgetting"}  # of which the owner makes life
    assert all(value is not None and math.isfinite(value) for value in measured.values.values())
    of_base = owner.claims[-1].base_measures
    assert of_base is not None
    assert (of_base.values["divergence"], of_base.values["lora_update"]) == (0.0, 0.0)
    assert of_base.values["perplexity"] != measured.values["perplexity"]
    assert len(measured.layers["lora_update"]) == 2
    assert len({claim.session for claim in owner.claims}) == 1
    assert all(claim.shares_folder for claim in owner.claims)


async def test_the_swap_does_not_wait_for_what_is_measured(
    own_owner: OwnerStandIn, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(model_folder, samples_per_step=4)
    measure_model = trainer.measure_model

    def measure_after_the_hand_in() -> ModelReading:
        until(lambda: not own_owner.hand_ins.empty(), "the hand-in")
        return measure_model()

    monkeypatch.setattr(trainer, "measure_model", measure_after_the_hand_in)
    claim = Claim(worker="of the test", session="only", shares_folder=True)
    client = WorkerOwnerClient(f"http://127.0.0.1:{own_owner.port}", lambda: KEY, claim)
    resources = WorkerResources(trainer, client, tmp_path / "own", shares_folder=True, nice=False, threads=0)
    try:
        await run_round(resources, job(tmp_path))
        assert own_owner.measures.get_nowait().values["perplexity"]
        own_owner.accepts = False
        await run_round(resources, job(tmp_path, 1))
        assert own_owner.measures.empty(), "of an adapter that is refused nothing is told"
        assert own_owner.hand_ins.qsize() == 2 and own_owner.failures.empty()
    finally:
        await client.close()


def test_after_a_refusal_the_round_begins_at_what_was_accepted(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    owner.accepts = False
    owner.offer(job(tmp_path))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    owner.hand_ins.get()
    owner.offer(job(tmp_path, 1))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    assert alike(tmp_path / "iteration-1", expected(model_folder, tmp_path, 1))


def test_it_survives_that_the_owner_is_away(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    owner.stop()
    wait_for(lambda: "is away" in worker.log_text(), worker)
    owner.start()
    owner.offer(job(tmp_path, pairs=LONG))
    wait_for(lambda: owner.steps_of(0), worker)
    owner.stop()
    wait_for(lambda: (tmp_path / "iteration-0").exists(), worker)
    owner.start()
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    assert owner.hand_ins.get().sha256 == sha256_of(tmp_path / "iteration-0")
    assert "is back" in worker.log_text()


def test_a_round_that_is_called_off_is_dropped_and_the_next_is_claimed(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    owner.proceed = False
    owner.offer(job(tmp_path, pairs=LONG))
    wait_for(lambda: "was dropped" in worker.log_text(), worker)
    assert owner.hand_ins.empty()
    assert not (tmp_path / "iteration-0").exists()
    owner.proceed = True
    owner.offer(job(tmp_path, 1))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    assert owner.hand_ins.get().path == str(tmp_path / "iteration-1")


def test_a_run_that_ended_meanwhile_does_not_come_back(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    adapters = tmp_path / "runs" / "run-1" / "adapters"
    adapters.mkdir(parents=True)
    owner.offer(job(adapters, pairs=LONG))
    wait_for(lambda: owner.steps_of(0), worker)
    shutil.rmtree(adapters.parent)
    wait_for(lambda: "was dropped" in worker.log_text(), worker)
    assert not adapters.parent.exists()
    assert owner.hand_ins.empty() and owner.failures.empty()
    owner.offer(job(tmp_path, 1))
    wait_for(lambda: not owner.hand_ins.empty(), worker)


def test_a_sign_of_life_keeps_the_lease(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    owner.offer(job(tmp_path, pairs=LONG, lease=0.15))
    wait_for(lambda: any(report.step == 0 for _, report in owner.steps), worker)
    wait_for(lambda: not owner.hand_ins.empty(), worker)


def test_a_round_that_cannot_be_trained_is_given_back(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    adapter = expected(model_folder, tmp_path, 1)
    place = AdapterPlace(path=str(adapter), sha256="0" * 64, iteration=0)
    owner.offer(job(tmp_path, 1, previous=place))
    wait_for(lambda: not owner.failures.empty(), worker)
    assert "sha256" in owner.failures.get()
    owner.offer(job(tmp_path, 2))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    assert not (tmp_path / "iteration-1").exists()


def test_without_a_shared_folder_adapters_travel_both_ways(
    own_owner: OwnerStandIn, model_folder: Path, tmp_path: Path
) -> None:
    own_owner.wants_upload = True
    own_owner.adapters[0] = expected(model_folder, tmp_path, 1)
    elsewhere = Path("/nowhere/runs/run-1/adapters")
    with working(own_owner, model_folder, tmp_path / "worker", shares_folder=False) as worker:
        place = AdapterPlace(path=str(elsewhere / "iteration-0"), sha256=sha256_of(own_owner.adapters[0]), iteration=0)
        own_owner.offer(job(elsewhere, 1, previous=place))
        wait_for(lambda: own_owner.hand_ins.qsize() == 2, worker)
        body, sha256 = own_owner.uploads.get()
        assert own_owner.hand_ins.get().sha256 == sha256
        wait_for(lambda: not (worker.data / "worker").exists(), worker)
        assert not own_owner.claims[-1].shares_folder
    unpack(io.BytesIO(body), tmp_path / "received", sha256)
    assert sorted(path.name for path in (tmp_path / "received").iterdir()) == [CONFIG_FILE, WEIGHTS_FILE, PROBE_FILE]
    assert alike(tmp_path / "received", expected(model_folder, tmp_path / "again", 2))


def test_no_word_of_a_sample_is_in_the_log(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    owner.offer(job(tmp_path, pairs=[(f"Was ist {CANARY}?", f"{CANARY} ist ein Wort.")]))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    owner.offer(job(tmp_path / "no such", 1, pairs=[(CANARY, CANARY)]))
    wait_for(lambda: not owner.hand_ins.empty(), worker)
    assert "Round 0, step" in worker.log_text()
    assert CANARY not in worker.log_text()


def test_a_message_it_does_not_understand_is_told_without_a_word_of_it(
    owner: OwnerStandIn, worker: WorkerProcess, model_folder: Path, tmp_path: Path
) -> None:
    broken = job(tmp_path, pairs=[(CANARY, CANARY)]).model_dump() | {"learning_rate": CANARY}
    owner.offer(broken)
    wait_for(lambda: "learning_rate" in worker.log_text(), worker)
    assert CANARY not in worker.log_text()


def test_a_wrong_key_is_told_and_tried_again(own_owner: OwnerStandIn, model_folder: Path, tmp_path: Path) -> None:
    with working(own_owner, model_folder, tmp_path / "worker", key="another") as worker:
        wait_for(lambda: "WMKML_WORKER_KEY" in worker.log_text(), worker)
        assert own_owner.refused_keys >= 1
        assert worker.process.poll() is None


def test_it_leaves_in_the_middle_of_a_round_when_told(
    own_owner: OwnerStandIn, model_folder: Path, tmp_path: Path
) -> None:
    with working(own_owner, model_folder, tmp_path / "worker") as worker:
        own_owner.offer(job(tmp_path, pairs=LONG))
        wait_for(lambda: own_owner.steps_of(0), worker)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(timeout=60) == 0, worker.log_text()
    assert "Traceback" not in worker.log_text()
    assert not (tmp_path / "iteration-0").exists()


def test_a_missing_model_is_a_sentence(own_owner: OwnerStandIn, tmp_path: Path) -> None:
    with working(own_owner, tmp_path / "no-model", tmp_path / "worker") as worker:
        assert worker.process.wait(timeout=60) == 2
    last = worker.log_text().splitlines()[-1]
    assert "wmkml download" in last
    assert own_owner.unable == [last]
    assert "Traceback" not in worker.log_text()


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
    with pytest.raises(ArchiveBrokenError):
        unpack(io.BytesIO(body), tmp_path / "new", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_parcel_holds_what_was_packed_and_nothing_else(tmp_path: Path) -> None:
    body = tar_of(CONFIG_FILE, WEIGHTS_FILE, "other.txt")
    unpack(io.BytesIO(body), tmp_path / "new", hashlib.sha256(b"abc").hexdigest())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    repacked = io.BytesIO()
    pack(tmp_path / "new", repacked)
    repacked.seek(0)
    unpack(repacked, tmp_path / "again", hashlib.sha256(b"abc").hexdigest())
    repacked.seek(0)
    with pytest.raises(ArchiveBrokenError, match="sha256"):
        unpack(repacked, tmp_path / "third", "0" * 64)
