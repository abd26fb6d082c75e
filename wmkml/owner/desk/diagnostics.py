"""The diagnostics that the desk downloads: what this owner knows of its installation, and no visitor's word."""

from __future__ import annotations

import asyncio

from wmkml.owner.context import OwnerContext
from wmkml.owner.desk.doctor import Doctor
from wmkml.owner.problems.watch import ProblemWatch
from wmkml.problems.diagnostics import pack_diagnostics
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.desk import ProblemList


async def diagnostics(owner: OwnerContext, problems: ProblemWatch, doctor: Doctor) -> bytes:
    """The zip.  It is made also where the doctor does not answer."""
    try:
        report = (await doctor.examine()).model_dump_json(indent=1)
    except RequestRefusedError as refusal:
        report = refusal.sentence
    present = ProblemList(problems=problems.look(), notices=owner.publisher.dated_notices())
    parts = {
        "doctor.json": report,
        "problems.json": present.model_dump_json(indent=1),
        "state.json": owner.run_state().model_dump_json(indent=1),
        "machine.json": problems.machine.model_dump_json(indent=1),
    }
    return await asyncio.to_thread(pack_diagnostics, owner.settings, owner.paths, parts)
