"""The notebooks: each runs from its first cell to its last, in a kernel of its own, and is kept without outputs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.provisioning import local_provisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.warm_processes import MODEL, WarmPopen
from wmkml.config.paths import PROJECT

MOST_SECONDS = 110.0
"""What a notebook may take, in processor time: how long it takes depends on what else the machine does.  Two minutes, less what
a kernel that is forked has not to import."""

COMMAND = re.compile(r"^!.*$", re.MULTILINE)

NOTEBOOKS = sorted((PROJECT / "examples" / "notebooks").glob("*.ipynb"))


class ForkedKernel(WarmPopen):
    """A notebook's kernel, forked from a process that has imported torch and transformers."""

    stdin = stdout = stderr = None

    def __init__(self, command: Sequence[str], *, cwd: str, env: dict[str, str], **_: Any) -> None:
        python, *arguments = command
        assert python == sys.executable
        super().__init__(arguments, MODEL, cwd=Path(cwd), env=env, start_new_session=True)


@pytest.fixture
def forked_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are forked; all else of them is as it is."""
    monkeypatch.setattr(local_provisioner, "launch_kernel", ForkedKernel)


def execute(notebook: nbformat.NotebookNode, folder: Path) -> float:
    """Run all cells, and fail where a command in one does; a notebook shows its errors and goes on.  Returns seconds of the
    kernel's processor time and that of its commands."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = COMMAND.sub(
                r"\g<0>\nassert _exit_code == 0, f'the command ended with {_exit_code}'", cell.source
            )
    notebook.cells.append(nbformat.v4.new_code_cell("import os\nprint(sum(os.times()[:4]))"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return float(notebook.cells.pop().outputs[0].text)


@pytest.mark.process
def test_a_command_that_fails_in_a_cell_fails_its_notebook(tmp_path: Path) -> None:
    """In a kernel that is started as a notebook starts it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("!exit 3\n!echo on")])
    with pytest.raises(CellExecutionError, match="the command ended with 3"):
        execute(notebook, tmp_path)


@pytest.mark.process
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("forked_kernel")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_to_its_last_cell(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # More threads would be done sooner, and take more processor time.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs for cell in cells), "notebooks are kept without outputs"
    seconds = execute(notebook, tmp_path)
    print(f"{path.stem}: {seconds:.0f} seconds of processor time")
    assert seconds < MOST_SECONDS, "a notebook is promised to take under two minutes"
    shown = [output for cell in cells for output in cell.outputs if output.output_type != "stream"]
    assert shown and all(output.output_type != "error" for output in shown)
    assert any("image/png" in output.get("data", {}) for output in shown), "a figure is shown"
