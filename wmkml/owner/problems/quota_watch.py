"""Keeps what the installation keeps within `disk_quota_gib`, and says so where it cannot."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from wmkml.owner.context import OwnerContext
from wmkml.owner.problems.watch import ProblemWatch
from wmkml.owner.run import run_folder
from wmkml.owner.run.quota import GIB, make_room

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often it is looked."""


async def keep_quota(owner: OwnerContext, problems: ProblemWatch) -> None:
    """Look again and again; without a quota, return at once."""
    quota_bytes = int(owner.settings.general.disk_quota_gib * GIB)
    if not quota_bytes:
        return
    while True:
        # Else inference may still hold adapters of a run that has just ended.
        if owner.watch.ready or owner.watch.last_poll == "absent":
            try:
                outcome = await asyncio.to_thread(make_room, owner.paths, quota_bytes, _kept_runs(owner))
            except OSError as error:
                log.warning("The quota of the disk could not be kept: %s.", error.strerror)
            else:
                if outcome.deleted:
                    owner.publisher.notice(
                        f"Deleted to stay within general.disk_quota_gib: {', '.join(outcome.deleted)}."
                    )
                excess = outcome.used_bytes > quota_bytes
                problems.quota_excess_gib = outcome.used_bytes / GIB if excess else 0.0
        await asyncio.sleep(LOOK_SECONDS)


def _kept_runs(owner: OwnerContext) -> list[Path]:
    """The run under way, and the last one where the next takes its words over."""
    run = owner.installation.run
    kept = [] if run is None else [run.folder]
    if not owner.settings.finetuning.delete_live_questions_at_start:
        last = run_folder.find_run(owner.paths.runs, over=True)
        if last is not None:
            folder, store = last
            store.close()
            kept.append(folder)
    return kept
