"""The OSC messages that accompany a window event: what the configured hosts receive, or would if there were one.

Addresses and types follow `wmkml.protocol.osc.TABLE`.  `/heartbeat` is left out: its number is not in the event stream.
The measures cover the answers this window received, not all that the owner knows, so they are marked as approximate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wmkml.gui.events import (
    AdapterSwapped,
    LifeMoved,
    PromptReceived,
    ResponseReceived,
    RunEnded,
    RunStarted,
    TokenReceived,
    TypingReported,
    WindowEvent,
)
from wmkml.gui.panels.diversity import NamedMeasures
from wmkml.measures.registry import TABLE, shown_in
from wmkml.protocol.run_state import IterationMeasures, RoundRecord, RunState

Value = str | int | float

MAX_SHOWN_CHARACTERS = 60
"""Characters of a string value that are shown before it is cut with an ellipsis."""

HEARTBEAT_SECONDS = 0.5
"""Two states at least this far apart, and otherwise equal, count as a heartbeat."""


@dataclass(frozen=True)
class OscMessage:
    """One message; `approximate`: the values may differ slightly from those that are sent."""

    address: str
    values: tuple[Value, ...]
    approximate: bool = False

    def values_text(self) -> str:
        """The values on one line, strings shortened."""
        return ("≈ " if self.approximate else "") + "  ".join(_value_text(value) for value in self.values)


def osc_messages(
    event: WindowEvent,
    before: RunState | None,
    elapsed: float,
    current_measures: Callable[[], NamedMeasures | None],
) -> list[OscMessage]:
    """The messages that are sent with this event, in their order.

    Args:
        event: what the window received.
        before: the run's state before the event, its round included.
        elapsed: seconds since the run began.
        current_measures: returns those of the iteration that answers now.
    """
    match event:
        case PromptReceived():
            return [OscMessage("/prompt", (event.text,))]
        case TokenReceived():
            return [OscMessage("/token", (event.text, event.probability)), OscMessage("/entropy", (event.entropy,))]
        case ResponseReceived():
            return [OscMessage("/response", (event.text,)), OscMessage("/iteration", (event.iteration + 1,))]
        case TypingReported():
            return [OscMessage("/user_activity", (event.status,))]
        case AdapterSwapped():
            return [OscMessage("/swap", (event.iteration + 1,))]
        case RunStarted():
            return [OscMessage("/wait_for_language", (0,))]
        case RunEnded():
            return [
                OscMessage("/run_end", (1,)),
                OscMessage("/request_restart", (1,)),
                OscMessage("/wait_for_language", (1,)),
            ]
        case RoundRecord():
            return _round_messages(event, before.round if before is not None else None, elapsed, current_measures)
        case IterationMeasures():
            return [
                OscMessage(f"/collapse/{name}", (value,))
                for name, value in event.values.items()
                if value is not None and name in TABLE and "osc" in TABLE[name].windows and not TABLE[name].eased
            ]
        case LifeMoved():
            return [OscMessage("/collapse/life", (event.life,))]
        case RunState(time_left_seconds=float(left)) if before is not None and _is_heartbeat(event, before):
            return [OscMessage("/time_left", (left,))]
    return []


def _round_messages(
    record: RoundRecord,
    before: RoundRecord | None,
    elapsed: float,
    current_measures: Callable[[], NamedMeasures | None],
) -> list[OscMessage]:
    messages = []
    if before is None or before.iteration != record.iteration:
        messages += [
            OscMessage("/elapsed_time", (elapsed,), approximate=True),
            OscMessage("/learning_rate", (record.learning_rate,)),
            OscMessage("/round/progress", (0.0,)),
        ]
        measures = current_measures() or {}
        messages += [
            OscMessage(f"/collapse/{measure.name}", (measures[measure.name],), approximate=True)
            for measure in shown_in("osc")
            if measure.name in measures
        ]
    if record.status != "training" or record.step == 0 or record == before:
        return messages
    if record.loss is not None:
        messages.append(OscMessage("/loss", (record.step, record.loss)))
    if record.steps:
        messages.append(OscMessage("/round/progress", (min(1.0, record.step / record.steps),)))
    return messages


def _is_heartbeat(state: RunState, before: RunState) -> bool:
    """Whether the owner sent this state with a heartbeat, and not because something changed."""
    unchanged = (state.run, state.phase, state.iteration) == (before.run, before.phase, before.iteration)
    return unchanged and state.elapsed_seconds >= before.elapsed_seconds + HEARTBEAT_SECONDS


def _value_text(value: Value) -> str:
    if isinstance(value, str):
        # Whitespace is collapsed in a prefix only: an answer may be long, and this runs for every token.
        line = " ".join(value[: 4 * MAX_SHOWN_CHARACTERS].split())
        return f"“{line if len(line) <= MAX_SHOWN_CHARACTERS else line[:MAX_SHOWN_CHARACTERS] + '…'}”"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
