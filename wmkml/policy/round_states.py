"""Which states a round has, and which events lead from one to the other: one table, pure, without any timing.

The owner's scheduler (`wmkml.owner.rounds.scheduler`) is the only place that applies it.  A message of a worker may come
late or twice; whoever receives it asks `allows` first.  An event that the table does not have is a mistake of the owner's
own, and raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from wmkml.protocol.run_state import RoundStatus

ATTEMPTS = 2
"""How often a round is offered to workers before it is skipped; its iteration's number is skipped with it."""


class RoundEvent(StrEnum):
    """What can happen to a round."""

    CLAIMED = "claimed"
    """A worker has taken the round and holds its lease."""
    STEPPED = "stepped"
    """The worker has reported a step, or that it lives; an uploaded part of an adapter counts as that."""
    HANDED_IN = "handed_in"
    """The worker's adapter is in its place, whole, with the sha256 that was announced."""
    LOADED = "loaded"
    """Inference has loaded the adapter."""
    LOST = "lost"
    """Inference was away since it loaded the adapter, and has lost it."""
    SWITCHED_IN = "switched_in"
    """The adapter answers from now on."""

    LEASE_EXPIRED = "lease_expired"
    WORKER_FAILED = "worker_failed"
    """The worker has given the round back."""
    WORKER_RESTARTED = "worker_restarted"
    """The worker claims under a new session: it knows nothing of this round any more."""
    HAND_IN_BROKEN = "hand_in_broken"
    """What was handed in is no adapter, or not the one that was announced."""
    ADAPTER_REFUSED = "adapter_refused"
    """Inference will not load the adapter, or went away too often while it did."""
    BASE_WITHDRAWN = "base_withdrawn"
    """The adapter that this round goes on from was withdrawn, because inference crashed over it."""

    SKIPPED_BY_OPERATOR = "skipped_by_operator"
    ABANDONED = "abandoned"
    """The run's time is up, or the run has ended."""
    OWNER_RESTARTED = "owner_restarted"
    """The owner has read the round from the disk, after a restart of its own."""


RETRY: Final = "retry"
"""In the table: `open` with the next attempt, or `skipped` after the last one."""

FAILURES = frozenset(
    {
        RoundEvent.LEASE_EXPIRED,
        RoundEvent.WORKER_FAILED,
        RoundEvent.WORKER_RESTARTED,
        RoundEvent.HAND_IN_BROKEN,
        RoundEvent.ADAPTER_REFUSED,
        RoundEvent.BASE_WITHDRAWN,
    }
)
"""Events after which the attempt has come to nothing."""

TRANSITIONS: Mapping[tuple[RoundStatus, RoundEvent], RoundStatus | Literal["retry"]] = {
    ("open", RoundEvent.CLAIMED): "training",
    ("training", RoundEvent.STEPPED): "training",
    ("training", RoundEvent.HANDED_IN): "handed_in",
    ("handed_in", RoundEvent.LOADED): "held",
    ("held", RoundEvent.LOST): "handed_in",
    ("held", RoundEvent.SWITCHED_IN): "accepted",
    ("training", RoundEvent.LEASE_EXPIRED): RETRY,
    ("training", RoundEvent.WORKER_FAILED): RETRY,
    ("training", RoundEvent.WORKER_RESTARTED): RETRY,
    ("training", RoundEvent.HAND_IN_BROKEN): RETRY,
    ("training", RoundEvent.BASE_WITHDRAWN): RETRY,
    ("handed_in", RoundEvent.ADAPTER_REFUSED): RETRY,
    ("open", RoundEvent.SKIPPED_BY_OPERATOR): "skipped",
    ("training", RoundEvent.SKIPPED_BY_OPERATOR): "skipped",
    ("handed_in", RoundEvent.SKIPPED_BY_OPERATOR): "skipped",
    ("held", RoundEvent.SKIPPED_BY_OPERATOR): "skipped",
    ("open", RoundEvent.ABANDONED): "skipped",
    ("training", RoundEvent.ABANDONED): "skipped",
    ("handed_in", RoundEvent.ABANDONED): "skipped",
    ("held", RoundEvent.ABANDONED): "skipped",
    # A worker trains through a restart of the owner; what inference had loaded may be lost, so it is loaded again.
    ("open", RoundEvent.OWNER_RESTARTED): "open",
    ("training", RoundEvent.OWNER_RESTARTED): "training",
    ("handed_in", RoundEvent.OWNER_RESTARTED): "handed_in",
    ("held", RoundEvent.OWNER_RESTARTED): "handed_in",
}
"""Every transition there is.  `accepted` and `skipped` are final: no event leaves them."""


class IllegalTransitionError(RuntimeError):
    """The owner itself applied an event to a round that is in no state for it."""


@dataclass(frozen=True)
class RoundState:
    """The status of a round, and which attempt of at most ATTEMPTS it is in, from 1."""

    status: RoundStatus
    attempt: int


def is_finished(status: RoundStatus) -> bool:
    """Whether nothing can happen any more to a round of this status."""
    return status in ("accepted", "skipped")


def allows(status: RoundStatus, event: RoundEvent) -> bool:
    """Whether the table has this event for a round of this status."""
    return (status, event) in TRANSITIONS


def after(state: RoundState, event: RoundEvent) -> RoundState:
    """The state of a round after an event.

    Raises:
        IllegalTransitionError: the table does not have it.
    """
    status = TRANSITIONS.get((state.status, event))
    if status is None:
        raise IllegalTransitionError(f"{event.value}: not possible for a round that is {state.status}")
    if status != RETRY:
        return RoundState(status, state.attempt)
    if state.attempt >= ATTEMPTS:
        return RoundState("skipped", state.attempt)
    return RoundState("open", state.attempt + 1)
