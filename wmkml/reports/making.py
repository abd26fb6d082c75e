"""Makes the report of a record: the page, the pictures and the tables, each written whole; the page last."""

from __future__ import annotations

import tempfile
from pathlib import Path

from wmkml.reports.figures import save_figures
from wmkml.reports.folder import PAGE_FILE, REPORT_FILES, write_record
from wmkml.reports.page import report_page
from wmkml.reports.record import RunRecord
from wmkml.reports.tables import layers_csv, losses_csv, measures_csv
from wmkml.reports.texts import ReportLanguage
from wmkml.system import durable_files


def make_report(record: RunRecord, folder: Path, language: ReportLanguage) -> list[Path]:
    """Write all files of the report into its folder, which is created if need be.

    Returns:
        Their paths, in the order of REPORT_FILES.

    Raises:
        OSError: the disk does not take them.
    """
    write_record(folder, record)
    durable_files.replace(folder / "measures.csv", measures_csv(record).encode())
    durable_files.replace(folder / "layers.csv", layers_csv(record).encode())
    durable_files.replace(folder / "losses.csv", losses_csv(record).encode())
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as drawing:
        save_figures(record, language, Path(drawing))
        for picture in Path(drawing).iterdir():
            picture.replace(folder / picture.name)
    durable_files.replace(folder / PAGE_FILE, report_page(record, language).encode())
    return [folder / name for name in REPORT_FILES]
