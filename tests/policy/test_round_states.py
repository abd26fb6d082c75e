"""The table of a round's states: what leads where, what is final, and what the owner must not do."""

from __future__ import annotations

from typing import Any, cast, get_args

import pytest

from wmkml.policy import round_states
from wmkml.policy.round_states import ATTEMPTS, TRANSITIONS, IllegalTransitionError, RoundEvent, RoundState, after
from wmkml.protocol.run_state import RoundStatus


@pytest.mark.parametrize("status", ["accepted", "skipped"])
@pytest.mark.parametrize("event", list(RoundEvent))
def test_what_is_finished_stays_as_it_is(status: str, event: RoundEvent) -> None:
    with pytest.raises(IllegalTransitionError):
        after(RoundState(cast(Any, status), 1), event)


def test_an_attempt_that_fails_is_followed_by_one_more_and_then_the_round_is_skipped() -> None:
    for event in round_states.FAILURES:
        [status] = [status for status, of in TRANSITIONS if of is event]
        assert after(RoundState(status, 1), event) == RoundState("open", 2)
        assert after(RoundState(status, ATTEMPTS), event) == RoundState("skipped", ATTEMPTS)


def test_a_round_can_be_given_up_in_every_state_that_is_not_final() -> None:
    for event in (RoundEvent.SKIPPED_BY_OPERATOR, RoundEvent.ABANDONED):
        for status in ("open", "training", "handed_in", "held"):
            assert after(RoundState(cast(Any, status), 1), event).status == "skipped"


def test_a_restart_keeps_every_state_but_that_of_an_adapter_inference_may_have_lost() -> None:
    for status in ("open", "training", "handed_in"):
        assert after(RoundState(cast(Any, status), 2), RoundEvent.OWNER_RESTARTED) == RoundState(cast(Any, status), 2)
    assert after(RoundState("held", 2), RoundEvent.OWNER_RESTARTED) == RoundState("handed_in", 2)


def test_an_adapter_cannot_answer_before_it_is_loaded() -> None:
    state = RoundState("training", 1)
    for event in (RoundEvent.LOADED, RoundEvent.SWITCHED_IN):
        with pytest.raises(IllegalTransitionError, match=f"{event.value}: not possible for a round that is training"):
            after(state, event)
    for event in (RoundEvent.HANDED_IN, RoundEvent.LOADED, RoundEvent.SWITCHED_IN):
        state = after(state, event)
    assert state == RoundState("accepted", 1)


def test_rows_of_old_databases_are_states_of_the_table() -> None:
    statuses = {status for status, _ in TRANSITIONS} | {"accepted", "skipped"}
    assert statuses == set(get_args(RoundStatus))
