"""The notebooks: each runs from its first cell to its last, in a kernel of its own, and is kept without outputs."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from wmkml.config.paths import PROJECT

NOTEBOOKS = sorted((PROJECT / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.process
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_to_its_last_cell(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs for cell in cells), "notebooks are kept without outputs"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in cells for output in cell.outputs if output.output_type != "stream"]
    assert shown and all(output.output_type != "error" for output in shown)
    assert any("image/png" in output.get("data", {}) for output in shown), "a figure is shown"
