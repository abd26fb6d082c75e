"""Opening a round: which pairs it trains on, at what rate, and the job that a worker is given for it."""

from __future__ import annotations

import random
import secrets
from pathlib import Path

from wmkml.adapters.files import missing_file
from wmkml.config import Finetuning
from wmkml.owner.run.live_run import LiveRun
from wmkml.policy.pair_selection import choose
from wmkml.protocol.training import AdapterPlace, RoundJob
from wmkml.runs.folder import adapter_folder
from wmkml.runs.schema import AcceptedAdapter, Round


def new_round(run: LiveRun, tuning: Finetuning, number: int) -> Round | None:
    """A round over pairs drawn from the run's store; None while there is no pair at all to train on.

    Its learning rate is the schedule's; whoever opens it may put an operator's in its place.
    """
    seed = secrets.randbits(31)
    chosen = choose(run.store.live_pairs(), run.store.dataset_pairs(number), tuning, number, random.Random(seed))
    if not chosen:
        return None
    return Round(
        iteration=number,
        status="open",
        attempt=1,
        learning_rate=0.0,
        pairs=[candidate.pair for candidate in chosen],
        seed=seed,
        began=run.clock.elapsed(),
    )


def base_of_training(run: LiveRun) -> AcceptedAdapter | None:
    """The adapter that training goes on from: the newest that a round made and that is there; None for the base model."""
    present = [adapter for adapter in run.store.adapters() if adapter.from_round and _is_there(adapter)]
    return present[-1] if present else None


def adapters_gone(run: LiveRun) -> list[int]:
    """The iterations after the one that training goes on from, whose files somebody has deleted."""
    base = base_of_training(run)
    after = -1 if base is None else base.iteration
    return [adapter.iteration for adapter in run.store.adapters() if adapter.from_round and adapter.iteration > after]


def _is_there(adapter: AcceptedAdapter) -> bool:
    return missing_file(Path(adapter.path)) is None


def job_of(run: LiveRun, round_: Round, lease_seconds: float) -> RoundJob:
    """Everything a worker needs to train a round."""
    base = base_of_training(run)
    return RoundJob(
        run=run.name,
        iteration=round_.iteration,
        attempt=round_.attempt,
        learning_rate=round_.learning_rate,
        samples=run.store.samples(round_.pairs),
        previous=None if base is None else AdapterPlace(path=base.path, sha256=base.sha256, iteration=base.iteration),
        folder=str(adapter_folder(run.folder, round_.iteration, round_.attempt)),
        seed=round_.seed,
        lease_seconds=lease_seconds,
    )
