"""Records what the stage needs of a rehearsed run, for `/stage?replay=NAME`: `stage/recordings/NAME.jsonl.gz`.

Only a rehearsal is recorded, for its visitors are simulated: what people say is never kept in this way.  A recording is
gzipped text; each line is a JSON array of the seconds since the recording began, the event's name, and its data.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Event = tuple[float, str, dict[str, Any]]
"""Seconds, name and data of an event of `/events`."""

KEPT_EVENTS = frozenset({"run_started", "last_words", "run_end", "round", "measures", "swap", "life", "rolling"})
WORD_EVENTS = frozenset({"prompt", "start", "token", "response"})
STATION_EVENTS = WORD_EVENTS | {"typing"}
"""Of a station; kept of simulated visitors alone."""

SIMULATED_PREFIX = "rehearsal-"
"""What the station of a simulated visitor begins with."""

STATE_FIELDS = (
    *("run", "phase", "language", "languages", "iteration", "num_total_iters", "elapsed_seconds", "time_left_seconds"),
    *("round", "rounds", "measures", "life", "lives", "osc"),
)
"""What the stage reads of a state."""

STATE_SECONDS = 5.0
"""Seconds between two states of a recording in which nothing has changed but the clock."""


def record_events(events: Iterable[Event], path: Path, every: int = 1) -> int:
    """Write a recording.

    Args:
        events: all events of a run, in the order of time.
        every: so many answers of a station become one; 1 keeps them all.

    Raises:
        OSError: the file cannot be written.

    Returns:
        The number of events written.
    """
    lines = [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in thinned(events, every)]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a time in it, the same events are the same file.
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))
    return len(lines)


def thinned(events: Iterable[Event], every: int) -> Iterable[Event]:
    """The events that the stage needs, their numbers rounded; of each station every `every`-th answer."""
    begin: float | None = None
    answers: defaultdict[str, int] = defaultdict(lambda: -1)
    state_key, state_at = "", float("-inf")
    for second, name, data in events:
        if begin is None:
            if name != "run_started":
                continue
            begin = second
        at = round(second - begin, 2)
        if name == "state":
            state = {field: data[field] for field in STATE_FIELDS if field in data}
            state |= {"rounds": [], "osc": False, "round": _rounded(state["round"]) if state.get("round") else None}
            key = json.dumps([state["phase"], state["iteration"], state["measures"]])
            if key == state_key and at - state_at < STATE_SECONDS:
                continue
            state_key, state_at = key, at
            yield at, name, _rounded(state)
        elif name in KEPT_EVENTS:
            yield at, name, _rounded(data)
        elif name in STATION_EVENTS and str(data["station"]).startswith(SIMULATED_PREFIX):
            answers[data["station"]] += name == "prompt"
            if answers[data["station"]] % every == 0:
                yield at, name, _rounded(data | ({"text": ""} if name == "response" else {}))


def _rounded(data: dict[str, Any]) -> dict[str, Any]:
    return {name: _rounded_value(value) for name, value in data.items()}


def _rounded_value(value: Any) -> Any:
    if isinstance(value, dict):
        return _rounded(value)
    return round(value, 3) if isinstance(value, float) else value
