"""The folder of all reports, `data/reports/`: a folder for each run, in which its record appears whole or not at all.

Every file of a report has a fixed name, and a report is found among the names that are there: what somebody asks for
never becomes a path.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from wmkml.reports.record import RunRecord
from wmkml.system import durable_files

RECORD_FILE, PAGE_FILE = "report.json", "report.html"

REPORT_FILES: Mapping[str, str] = {
    PAGE_FILE: "text/html; charset=utf-8",
    RECORD_FILE: "application/json",
    "measures.csv": "text/csv; charset=utf-8",
    "layers.csv": "text/csv; charset=utf-8",
    "losses.csv": "text/csv; charset=utf-8",
    "measures.png": "image/png",
    "losses.png": "image/png",
}
"""The files of a report and their media types; the page is written last."""

UNFINISHED = ".new-"
"""Of a folder's name while it is being created."""


class RecordDamagedError(ValueError):
    """A report.json that is no record; the text names it."""


def write_record(folder: Path, record: RunRecord) -> None:
    """Write the record into its folder, which is created with it, readable by its owner alone."""
    content = record.model_dump_json(indent=1).encode()
    if folder.is_dir():
        durable_files.replace(folder / RECORD_FILE, content)
        return
    unfinished = folder.with_name(UNFINISHED + folder.name)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    durable_files.write(unfinished / RECORD_FILE, content)
    durable_files.sync_folder(unfinished)
    unfinished.rename(folder)
    durable_files.sync_folder(folder.parent)


def read_record(folder: Path) -> RunRecord:
    """The record in a report's folder.

    Raises:
        FileNotFoundError: there is none.
        RecordDamagedError: it cannot be read.
    """
    path = folder / RECORD_FILE
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except ValidationError:
        raise RecordDamagedError(f"{path} is no record of a run; delete it.") from None


def report_names(reports: Path) -> list[str]:
    """The runs that have a report, newest first: names of runs sort by time."""
    if not reports.is_dir():
        return []
    names = [path.name for path in reports.iterdir() if not path.name.startswith(".")]
    return sorted((name for name in names if (reports / name / RECORD_FILE).is_file()), reverse=True)


def files_of(folder: Path) -> list[str]:
    """The files of a report that are there, in the order of REPORT_FILES."""
    return [name for name in REPORT_FILES if (folder / name).is_file()]


def undrawn(reports: Path) -> list[str]:
    """The runs whose record is there and whose page is not, oldest first."""
    return [name for name in reversed(report_names(reports)) if not (reports / name / PAGE_FILE).is_file()]


def remove_old(reports: Path, keep: int) -> None:
    """Delete all but the newest reports, and what an interrupted writing left."""
    for name in report_names(reports)[keep:]:
        shutil.rmtree(reports / name)
    for leftover in reports.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover)
