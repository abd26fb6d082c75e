"""Make the report of a run: one page of HTML, with the same numbers as pictures, tables and JSON beside it.

    python -m wmkml report 20261128-200540-de-e7f8
    python -m wmkml report data/laboratory/life/seed-1 --language en
    python -m wmkml report data/runs/20261128-200540-de-e7f8 --out /tmp/report

RUN: the name of a run of the installation, or the folder of a run of the installation or the laboratory, also one that is
under way; or the folder of a report, which is drawn anew from its report.json.  The report goes to data/reports/RUN for the
installation's runs, and to the folder `report` in a run of the laboratory.  docs/reports.md tells what is in it.
Exit status: 0 when it was made, 2 when there is no such run or the report cannot be written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.config.arguments import add_settings_arguments, settings_of

if TYPE_CHECKING:
    from wmkml.reports.record import RunRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run's name or folder, or a report's folder")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report goes (default: see above)")
    parser.add_argument("--language", choices=("de", "en"), help="of the report (default: the run's)")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Make the report.  Returns 2, with a sentence on stderr, when it cannot be made."""
    from wmkml.reports.folder import PAGE_FILE, RecordDamagedError
    from wmkml.reports.gathering import RunUnreadableError
    from wmkml.reports.making import make_report
    from wmkml.reports.texts import report_language

    try:
        record, folder = _record_and_folder(arguments)
        out = arguments.out or folder
        make_report(record, out, arguments.language or report_language(record.language))
    except (RunUnreadableError, RecordDamagedError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The report cannot be written: {error.strerror} ({error.filename}).", file=sys.stderr)
        return 2
    print(out / PAGE_FILE)
    return 0


def _record_and_folder(arguments: argparse.Namespace) -> tuple[RunRecord, Path]:
    """The run's record, and the folder of its report.

    Raises:
        RunUnreadableError: there is no such run.
        RecordDamagedError: a report's record cannot be read.
    """
    from wmkml.config.paths import paths_of
    from wmkml.reports.folder import RECORD_FILE, read_record
    from wmkml.reports.gathering import RunUnreadableError, record_of_folder

    folder = Path(arguments.run)
    if (folder / RECORD_FILE).is_file():
        return read_record(folder), folder
    if (folder / "run.json").is_file():
        record = record_of_folder(folder)
        if record.kind != "installation":
            return record, folder / "report"
        # A folder in data/runs/ has its report in data/reports/; one that lies elsewhere has it inside.
        kept = folder.resolve()
        return record, kept.parent.parent / "reports" / kept.name if kept.parent.name == "runs" else kept / "report"
    if folder.exists() or folder.name != arguments.run:
        raise RunUnreadableError(f"{folder} is no run's folder: there is neither run.json nor {RECORD_FILE} in it.")
    paths = paths_of(*settings_of(arguments))
    report = paths.reports / arguments.run
    if (paths.runs / arguments.run / "run.json").is_file():
        return record_of_folder(paths.runs / arguments.run), report
    if (report / RECORD_FILE).is_file():
        return read_record(report), report
    raise RunUnreadableError(
        f"There is no run {arguments.run} in {paths.runs}, and no report of it in {paths.reports}. "
        "A run's folder is deleted at its end unless general.keep_runs is true."
    )
