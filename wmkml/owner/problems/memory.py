"""What the owner must remember to know its problems: since when something is so, and what was there before.

Pure: every method gets the monotonic time, in seconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

from wmkml.config.planned import ALL_GPUS
from wmkml.owner.problems.facts import CLOCK_JUMP_SECONDS, RESTART_WINDOW_SECONDS
from wmkml.system.gpus import GPUS_VARIABLE

KILLS_REMEMBERED_SECONDS = 900.0
"""How long a process is counted that was killed because memory was short."""

JUMP_REMEMBERED_SECONDS = 900.0
"""How long a jump of the clock is shown."""


class Durations:
    """Since when each of some conditions has held without a break."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def minutes(self, name: str, holds: bool, now: float) -> float:
        """For how many minutes this condition has held; 0 where it does not."""
        if not holds:
            self._since.pop(name, None)
            return 0.0
        return (now - self._since.setdefault(name, now)) / 60


class RestartCounter:
    """How often the language model went away lately."""

    def __init__(self) -> None:
        self._was_there = False
        self._times: deque[float] = deque()

    def count(self, there: bool, now: float) -> int:
        """The number of times it went away within RESTART_WINDOW_SECONDS.  `there`: its process answers now."""
        if self._was_there and not there:
            self._times.append(now)
        self._was_there = there
        while self._times and now - self._times[0] > RESTART_WINDOW_SECONDS:
            self._times.popleft()
        return len(self._times)


class WallClock:
    """Whether the wall clock goes with the monotonic one."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._jump, self._jumped_at = 0.0, 0.0

    def jump(self, wall: float, now: float) -> float:
        """Seconds by which the wall clock has jumped lately; 0.0: it has not.  `wall`: seconds since 1970."""
        offset = wall - now
        if self._offset is not None and abs(offset - self._offset) > CLOCK_JUMP_SECONDS:
            self._jump, self._jumped_at = offset - self._offset, now
        self._offset = offset
        if now - self._jumped_at > JUMP_REMEMBERED_SECONDS:
            self._jump = 0.0
        return self._jump


class MemoryKills:
    """How many processes the kernel has killed lately because memory was short."""

    def __init__(self) -> None:
        self._known: int | None = None
        self._times: deque[float] = deque()

    def count(self, killed: int, now: float) -> int:
        """The number within KILLS_REMEMBERED_SECONDS.  `killed`: since the machine's start."""
        if self._known is not None:
            self._times.extend([now] * (killed - self._known))
        self._known = killed
        while self._times and now - self._times[0] > KILLS_REMEMBERED_SECONDS:
            self._times.popleft()
        return len(self._times)


class SeenGpus:
    """The most graphics cards of each name that were seen."""

    def __init__(self, planned: int = 0) -> None:
        """`planned`: the plan's cards; what of them was never seen has gone before this process began."""
        self._planned = planned
        self._most: Counter[str] = Counter()

    def gone(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of cards that were there and are not any more; a name for each card."""
        present = Counter(names)
        self._most |= present
        return (*(self._most - present).elements(), *["GPU"] * (self._planned - self._most.total()))


def planned_gpus(environment: Mapping[str, str]) -> int:
    """How many real graphics cards the launcher's plan has, by the owner's environment; 0 where they are pretended."""
    listed = environment.get(ALL_GPUS, "")
    return len(listed.split(",")) if listed and not environment.get(GPUS_VARIABLE) else 0
