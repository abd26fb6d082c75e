"""The reports of past runs over HTTP, for the desk: the newest of them, the archive, and each one's files.

What is asked for is looked up among the names that are there (`wmkml.reports.folder`); it never becomes a path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from wmkml.owner.context import OwnerContext
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.desk import DeskReport, DeskReports
from wmkml.reports.archive import archive_page
from wmkml.reports.folder import REPORT_FILES, RecordDamagedError, files_of, read_record, report_names
from wmkml.reports.shell import POLICY

NEWEST = 5
"""How many reports the desk names; the archive has them all."""

REPORT_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_report_routes(app: FastAPI, owner: OwnerContext, require_session: Callable[[Request], Awaitable[None]]) -> None:
    """Add `GET /desk/reports`, `/desk/archive`, and the files of each report.

    Args:
        require_session: refuses requests without a session of the desk.
    """
    folder = owner.paths.reports
    desk = APIRouter(prefix="/desk", dependencies=[Depends(require_session)])

    @desk.get("/reports")
    async def newest_reports() -> DeskReports:
        return await asyncio.to_thread(_newest, folder)

    @desk.get("/reports/{run}/{file}", include_in_schema=False)
    async def report_file(run: str, file: str) -> Response:
        if file not in REPORT_FILES or run not in await asyncio.to_thread(report_names, folder):
            raise RequestRefusedError(404, "There is no such report.")
        path = folder / run / file
        if not path.is_file():
            raise RequestRefusedError(404, "This part of the report is not drawn yet.")
        return FileResponse(path, media_type=REPORT_FILES[file], headers=REPORT_HEADERS)

    @desk.get("/archive", include_in_schema=False)
    async def archive(
        request: Request, language: Annotated[Literal["de", "en"] | None, Query()] = None
    ) -> HTMLResponse:
        wanted = language or ("de" if request.headers.get("accept-language", "de").lower().startswith("de") else "en")
        return HTMLResponse(await asyncio.to_thread(archive_page, folder, wanted), headers=REPORT_HEADERS)

    app.include_router(desk)


def _newest(folder: Path) -> DeskReports:
    names, reports = report_names(folder), []
    for name in names[:NEWEST]:
        try:
            record = read_record(folder / name)
        except (FileNotFoundError, RecordDamagedError):
            continue  # deleted just now, or damaged: the others are named
        reports.append(
            DeskReport(
                run=name,
                language=record.language,
                started_at=record.started_at,
                seconds=record.seconds,
                rounds=len(record.accepted()),
                words=record.words is not None,
                files=files_of(folder / name),
            )
        )
    return DeskReports(count=len(names), reports=reports)
