"""How much a siege tries, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SiegeOptions:
    """How often each section attacks.

    Attributes:
        seed: fixes victims, moments and messages.
        minutes: after this time no new attack begins; None: no limit.
    """

    kills: int = 200
    runs: int = 300
    stations: int = 100
    connections: int = 10_000
    messages: int = 2_000
    prompts: int = 10_000
    seed: int = 0
    minutes: float | None = None
    began: float = field(default_factory=time.monotonic)

    def time_is_up(self) -> bool:
        """Whether no new attack may begin."""
        return self.minutes is not None and time.monotonic() - self.began > 60 * self.minutes
