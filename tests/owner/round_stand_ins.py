"""Stand-ins for what surrounds a run's rounds, for random histories of them: inference, the clock, a state to publish."""

from __future__ import annotations

import asyncio

from tests.owner.virtual_loop import VirtualLoop
from wmkml.owner.inference.client import InferenceAwayError, InferenceRefusedError
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.original import ReloadReply
from wmkml.protocol.run_state import RunState


class InferenceStandIn:
    """Client and watch in one, and the inference behind them: which adapters it has loaded, and which one is named."""

    def __init__(self) -> None:
        self.restores = 0
        self.loaded: dict[int, str] = {}
        self.named = -1
        self.refusing = False
        self.dying_loads = 0
        self._ready = asyncio.Event()
        self._ready.set()

    # --- as the watch ---

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    async def wait(self, seconds: float | None = None) -> bool:
        await asyncio.wait_for(self._ready.wait(), seconds)
        return True

    def require_restore(self) -> None:
        """Somebody saw it break: its gate closes until `come_back`."""
        self._ready.clear()

    # --- as the client ---

    async def reload(self, path: str, iteration: int) -> ReloadReply:
        await asyncio.sleep(0.1)
        if self.dying_loads:
            self.dying_loads -= 1
            self.go_away()
        if not self.ready:
            raise InferenceAwayError("away")
        if self.refusing:
            raise InferenceRefusedError("it is not finite")
        self.loaded[iteration] = path
        return ReloadReply(model=f"iteration-{iteration}", seconds=0.1)

    async def set_current(self, iteration: int) -> None:
        if not self.ready or (iteration >= 0 and iteration not in self.loaded):
            raise InferenceAwayError("away, or it lost the adapter")
        self.named = iteration

    # --- what happens to it ---

    def go_away(self) -> None:
        self._ready.clear()
        self.loaded.clear()
        self.named = -1

    def come_back(self, run: LiveRun) -> None:
        """As the installation restores it: the adapters that were accepted, and the one that answers."""
        if self.ready:
            return
        self.loaded = {adapter.iteration: adapter.path for adapter in run.store.adapters()}
        self.named = run.iteration
        self.restores += 1
        self._ready.set()


class NoAnswers:
    """In place of the answers that a run asks for in the background: none are wanted here."""

    def begin(self, run: LiveRun, number: int) -> None: ...

    async def wait_until_enough(self, run: LiveRun, number: int) -> None: ...

    async def record_persistent_answer(self, run: LiveRun) -> None: ...


class LoopClock:
    """A run's clock that goes by the loop's."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def elapsed(self) -> float:
        return self._loop.time()


def some_state(run: LiveRun) -> RunState:
    """What the publisher tells beside the events; nothing of it matters here."""
    return RunState(
        run=run.name,
        phase=run.phase,
        language=run.language,
        languages=["de"],
        iteration=run.iteration,
        num_total_iters=9,
        elapsed_seconds=0.0,
        time_left_seconds=None,
        round=None,
        rounds=[],
        pairs={},
        stations=0,
        inference="ready",
        worker="ready",
        model="",
        engine="",
        keep_runs=False,
        log_visitor_words=False,
        carries_words=False,
        osc=False,
        idle_seconds=0.0,
    )
