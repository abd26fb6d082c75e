"""Files that a command is asked to write: whether they can be, before it works for minutes, and the sentence if not."""

from __future__ import annotations

import os
from pathlib import Path

STANDARD_OUTPUT = "-"


def unwritable_problem(*files: Path | str | None) -> str:
    """A sentence on the first of these files that cannot be written; empty if all can, as far as can be seen before.

    Args:
        files: None and "-" are no files, and pass.
    """
    for path in (Path(file) for file in files if file not in (None, STANDARD_OUTPUT)):
        if path.is_dir():
            return f"{path} cannot be written: it is a folder. Name a file."
        if not path.parent.is_dir():
            return f"{path} cannot be written: there is no folder {path.parent}. Make it first."
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            return f"{path} cannot be written: it, or its folder, is read only for this user."
    return ""


def unwritable(error: OSError, *files: Path | str | None) -> str:
    """The sentence for an error of writing one of these files.

    The error of a disk that fills while a file is open names no file, and libraries raise errors without a number.
    """
    named = error.filename or next((file for file in files if file not in (None, STANDARD_OUTPUT)), "The file")
    return f"{named} cannot be written: {error.strerror or error}."
