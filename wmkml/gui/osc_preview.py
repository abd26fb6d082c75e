"""What goes to music and visuals by OSC, or would, if there were a host: told from the news the window hears.  Pure.

Addresses and types are those of `wmkml.osc.TABLE`.  The heartbeat's number is told to nobody else and is left out; the
measures are of the answers that passed here, and not of all that the owner knows: they are marked as nearly so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wmkml import wire
from wmkml.gui.diversity import Measures
from wmkml.gui.news import News, Prompt, Response, RunOver, RunStarted, Swap, Token, Typing

Value = str | int | float

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Message:
    """One message; `nearly` when its values may differ a little from what is sent."""

    address: str
    values: tuple[Value, ...]
    nearly: bool = False

    def shown(self) -> str:
        """The values as one short line."""
        return ("≈ " if self.nearly else "") + "  ".join(_shown(value) for value in self.values)


def messages(
    news: News, before: wire.RunState | None, elapsed: float, measures: Callable[[], Measures | None]
) -> list[Message]:
    """The messages that this news comes with, in their order.

    Args:
        news: what was heard.
        before: the run's state as known until then, its round included.
        elapsed: seconds since the run began.
        measures: gives those of the iteration that answers now.
    """
    match news:
        case Prompt():
            return [Message("/prompt", (news.text,))]
        case Token():
            return [Message("/token", (news.text, news.probability)), Message("/entropy", (news.entropy,))]
        case Response():
            return [Message("/response", (news.text,)), Message("/iteration", (news.iteration + 1,))]
        case Typing():
            return [Message("/user_activity", (news.status,))]
        case Swap():
            return [Message("/swap", (news.iteration + 1,))]
        case RunStarted():
            return [Message("/wait_for_language", (0,))]
        case RunOver():
            return [Message("/run_end", (1,)), Message("/request_restart", (1,)), Message("/wait_for_language", (1,))]
        case wire.RoundRecord():
            return _of_round(news, before.round if before is not None else None, elapsed, measures)
        case wire.RunState(time_left_seconds=float(left)) if before is not None and _is_heartbeat(news, before):
            return [Message("/time_left", (left,))]
    return []


def _of_round(
    now: wire.RoundRecord, before: wire.RoundRecord | None, elapsed: float, measures: Callable[[], Measures | None]
) -> list[Message]:
    found = []
    if before is None or before.iteration != now.iteration:
        found += [
            Message("/elapsed_time", (elapsed,), nearly=True),
            Message("/learning_rate", (now.learning_rate,)),
            Message("/round/progress", (0.0,)),
        ]
        known = measures()
        for name in ("distinct_2", "repetition", "entropy"):
            value = getattr(known, name, None)
            if value is not None:
                found.append(Message(f"/collapse/{name}", (value,), nearly=True))
    if now.status != "training" or now.step == 0 or now == before:
        return found
    if now.loss is not None:
        found.append(Message("/loss", (now.step, now.loss)))
    if now.steps:
        found.append(Message("/round/progress", (min(1.0, now.step / now.steps),)))
    return found


def _is_heartbeat(now: wire.RunState, before: wire.RunState) -> bool:
    """The state is told with every heartbeat, and whenever something changed: then one does not come from the other."""
    unchanged = (now.run, now.phase, now.iteration) == (before.run, before.phase, before.iteration)
    return unchanged and now.elapsed_seconds >= before.elapsed_seconds + 0.5


def _shown(value: Value) -> str:
    if isinstance(value, str):
        line = " ".join(value[: 4 * SHOWN_CHARACTERS].split())
        return f"“{line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + '…'}”"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
