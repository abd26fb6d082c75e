"""The traffic lights of the four parts: what counts as trouble is decided here, by the patience below."""

from __future__ import annotations

import time

from wmkml.owner.context import OwnerContext
from wmkml.protocol.desk import DeskLight

RESTORE_PATIENCE_SECONDS = 20.0
"""How long inference may answer without being ready, while adapters are restored, before that is trouble."""

LOAD_PATIENCE_SECONDS = 600.0
"""How long inference may load its model before that is trouble: a large one takes minutes."""

START_PATIENCE_SECONDS = 60.0
"""How long a process may be absent, after a start or a crash, before that is trouble."""


class Lights:
    """Reads the lights from the owner's parts."""

    def __init__(self, owner: OwnerContext) -> None:
        self._owner = owner
        self._started_at = time.monotonic()

    def read(self) -> list[DeskLight]:
        """The lights now."""
        return [self._owner_light(), self._inference_light(), self._worker_light(), self._stage_light()]

    def _owner_light(self) -> DeskLight:
        return DeskLight(name="owner", light="good", code="lives", seconds=time.monotonic() - self._started_at)

    def _inference_light(self) -> DeskLight:
        watch = self._owner.watch
        seconds = time.monotonic() - watch.since
        if watch.ready:
            return DeskLight(name="inference", light="good", code="ready", seconds=seconds)
        code = "restoring" if watch.last_poll == "reachable" else watch.last_poll
        patience = {
            "restoring": RESTORE_PATIENCE_SECONDS,
            "loading": LOAD_PATIENCE_SECONDS,
            "absent": START_PATIENCE_SECONDS,
        }.get(code, 0.0)
        return DeskLight(
            name="inference", light="busy" if seconds < patience else "trouble", code=code, seconds=seconds
        )

    def _worker_light(self) -> DeskLight:
        scheduler = self._owner.scheduler()
        worker_state = self._owner.workers.state(None if scheduler is None else scheduler.current)
        if worker_state != "away":
            return DeskLight(name="worker", light="good", code=worker_state)
        silent_seconds = self._owner.workers.silent_seconds()
        seconds = time.monotonic() - self._started_at if silent_seconds is None else silent_seconds
        awaited = seconds < START_PATIENCE_SECONDS
        return DeskLight(
            name="worker",
            light="busy" if awaited else "trouble",
            code="awaited" if awaited else "away",
            seconds=seconds,
        )

    def _stage_light(self) -> DeskLight:
        count = self._owner.hub.count_stage_listeners()
        if self._owner.publisher.blank:
            return DeskLight(name="stage", light="busy", code="blank", count=count)
        if count:
            return DeskLight(name="stage", light="good", code="listens", count=count)
        return DeskLight(name="stage", light="off", code="nobody")
