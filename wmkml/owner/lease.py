"""What a worker says: it claims a round, reports steps, hands an adapter in or gives up, and may vanish at any moment.

The lease: a worker that says nothing for `lease_seconds` loses its round, and so does one that claims under a new
session of its name; the session before is given nothing then.  Messages that do not fit the round of the moment change nothing.  Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from wmkml.owner.live_run import LiveRun
from wmkml.owner.rounds import Rounds, Verdict
from wmkml.owner.workers import Workers
from wmkml.runs.folder import adapter_folder, append_line
from wmkml.runs.schema import Round
from wmkml.wire import AdapterPlace, Claim, HandIn, HandInReply, RoundFailure, RoundJob, StepReport

CLAIM_SECONDS = 25.0
"""A claim is answered after so long, with or without a round."""

SUPERSEDED_SECONDS = 5.0
"""A worker that has a successor is kept waiting so long for its no, or it would ask without a pause."""

VERDICT_SECONDS = 20.0
"""So long a worker is kept waiting while inference is away; then it hands in again."""

WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = ("adapter_config.json", WEIGHTS)


class Undecided(RuntimeError):
    """Inference is away, so nobody can say yet whether the adapter is good: the worker hands in again."""


async def claim(rounds: Rounds, said: Claim, workers: Workers, gone: Callable[[], Awaitable[bool]]) -> RoundJob | None:
    """The round that is offered, leased to this worker; none if there is none for CLAIM_SECONDS.

    Args:
        gone: whether the worker has hung up meanwhile; a round is not given to nobody.
    """
    until = time.monotonic() + CLAIM_SECONDS
    one = rounds.current
    if workers.superseded(said.session, one):
        rounds.herald.notice(f"Two workers are called {said.worker}; only the newer one is given rounds.")
        await asyncio.sleep(SUPERSEDED_SECONDS)
        return None
    workers.claims(said.session)
    if one is not None and one.status == "training" and one.worker == said.worker and one.session != said.session:
        if one.session is not None:
            workers.supersede(one.session, said.session)
        rounds.failed(one, "the worker was started anew.")
    while not rounds.run.over:
        one = rounds.current
        if one is not None and one.status == "training" and one.session == said.session:
            return _job(rounds, one)  # it never got the answer to its claim
        if one is not None and one.status == "open":
            if await gone():
                return None
            if one is rounds.current and one.status == "open":
                one.status, one.worker, one.session = "training", said.worker, said.session
                _renew(rounds)
                rounds.save(one)
                rounds.changed.beat()
                return _job(rounds, one)
        left = until - time.monotonic()
        if left <= 0 or not await rounds.changed.wait(left):
            return None
    return None


def step(rounds: Rounds, iteration: int, attempt: int, said: StepReport) -> bool:
    """A step was made.  False: the lease is lost, or the round is over."""
    one = _meant(rounds, iteration, attempt)
    if one is None or one.status != "training":
        return False
    _renew(rounds)
    if said.notice:
        rounds.herald.notice(f"Round {iteration}: {said.notice}")
    if said.step:
        one.step, one.steps, one.loss, one.tokens = said.step, said.steps, said.loss, said.tokens
        if said.step == 1:
            one.loss_first = said.loss
        line = {"iteration": iteration, "attempt": attempt, **said.model_dump(exclude={"notice"})}
        append_line(rounds.run.folder, "losses.jsonl", line)
        rounds.herald.step(one)
    return True


def give_up(rounds: Rounds, iteration: int, attempt: int, said: RoundFailure) -> None:
    """The worker could not train the round."""
    one = _meant(rounds, iteration, attempt)
    if one is not None and one.status == "training":
        rounds.failed(one, said.reason)


async def hand_in(rounds: Rounds, iteration: int, attempt: int, said: HandIn) -> HandInReply:
    """An adapter is in its place: check that, and have it loaded.  May be said again if the answer was lost.

    Raises:
        Undecided: inference is away.
    """
    received = time.monotonic()
    one = _meant(rounds, iteration, attempt)
    if one is None or one.status not in ("training", "handed_in", "held", "accepted"):
        return HandInReply(accepted=False, reason="This attempt is not under way any more.")
    if one.status == "training":
        _renew(rounds)
        folder = adapter_folder(rounds.run.folder, iteration, attempt)
        elsewhere = await asyncio.to_thread(lambda: Path(said.path).resolve() != folder.resolve())
        if elsewhere and not folder.is_dir():
            # Another place is never looked into, whatever it may hold: what counts is what arrives in ours.
            return HandInReply(accepted=False, upload=True, reason="The adapter is not in its place; upload it.")
        wrong = await asyncio.to_thread(_wrong_with, folder, said.sha256)
        if one is not _meant(rounds, iteration, attempt) or one.status != "training":
            return HandInReply(accepted=False, reason="This attempt is not under way any more.")
        if wrong:
            rounds.failed(one, wrong)
            return HandInReply(accepted=False, reason=wrong)
        one.status, one.path, one.sha256 = "handed_in", str(folder), said.sha256
        one.tokens, one.train_seconds, one.since_last_step = (
            said.tokens,
            said.train_seconds,
            said.seconds_since_last_step,
        )
        one.loss_first, one.loss_last = said.loss_first, said.loss_last
        rounds.received, rounds.verdict = received, Verdict()
        rounds.save(one)
        rounds.changed.beat()
    elif one.sha256 != said.sha256:
        return HandInReply(accepted=False, reason="Another adapter was handed in for this attempt.")
    if one.status != "handed_in":
        return HandInReply(accepted=True)
    verdict = rounds.verdict
    try:
        async with asyncio.timeout(VERDICT_SECONDS):
            await verdict.said.wait()
    except TimeoutError:
        raise Undecided from None
    return HandInReply(accepted=verdict.accepted, reason=verdict.reason)


def arriving(rounds: Rounds, iteration: int, attempt: int) -> bool:
    """A part of an uploaded adapter has arrived, which keeps the lease.  False: the attempt is not under way any more."""
    return receives(rounds, iteration, attempt) is not None


def receives(rounds: Rounds, iteration: int, attempt: int) -> Path | None:
    """The folder for an adapter that is uploaded; none if the attempt is not under way."""
    one = _meant(rounds, iteration, attempt)
    if one is None or one.status != "training":
        return None
    _renew(rounds)
    return adapter_folder(rounds.run.folder, iteration, attempt)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong_with(folder: Path, sha256: str) -> str:
    """What is wrong with an adapter in its place; nothing if the sentence is empty."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            return f"the adapter has no {name}."
    if sha256_of(folder / WEIGHTS) != sha256:
        return f"{WEIGHTS} is not the file whose sha256 was named."
    return ""


def _meant(rounds: Rounds, iteration: int, attempt: int) -> Round | None:
    one = next((one for one in rounds.all if one.iteration == iteration), None)
    return one if one is not None and one.attempt == attempt and not rounds.run.over else None


def _renew(rounds: Rounds) -> None:
    rounds.lease_ends = time.monotonic() + rounds.settings.finetuning.lease_seconds


def _job(rounds: Rounds, one: Round) -> RoundJob:
    run: LiveRun = rounds.run
    last = rounds.previous()
    return RoundJob(
        run=run.name,
        iteration=one.iteration,
        attempt=one.attempt,
        learning_rate=one.learning_rate,
        samples=run.store.samples(one.pairs),
        previous=None if last is None else AdapterPlace(path=last.path, sha256=last.sha256, iteration=last.iteration),
        folder=str(adapter_folder(run.folder, one.iteration, one.attempt)),
        seed=one.seed,
        lease_seconds=rounds.settings.finetuning.lease_seconds,
    )
