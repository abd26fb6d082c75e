"""The reproductions by name, and one call that runs any of them and writes what it found.

from wmkml.laboratory.reproductions.table import reproduce
result = reproduce("gaussian")
result.findings_frame(); result.to_frame()
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.laboratory.progress import Progress
from wmkml.laboratory.reproductions.arithmetic import reproduce_gaussian, reproduce_regression
from wmkml.laboratory.reproductions.claims import CLAIMS
from wmkml.laboratory.reproductions.figures import reproduction_figure
from wmkml.laboratory.reproductions.results import ReproductionResult

if TYPE_CHECKING:
    from wmkml.laboratory.reproductions.lineages import LineageOptions

ARITHMETIC: Mapping[str, Callable[[], ReproductionResult]] = {
    "gaussian": reproduce_gaussian,
    "regression": reproduce_regression,
}
"""The reproductions that need no model."""

REPRODUCTIONS = (*ARITHMETIC, *CLAIMS)
"""Every name."""

ROUGH_TIMES: Mapping[str, str] = {
    "gaussian": "seconds",
    "regression": "seconds",
    "replace-accumulate-subsample": "8 minutes of one core",
    "human-share": "5 minutes of one core",
    "decoding": "10 minutes of one core",
    "order": "3 minutes of one core",
    "facts-first": "3 minutes of one core, or none after `order`",
}
"""What each takes, as docs/reproductions.md has it: with the understudy and the settings that it is shipped with."""


def reproduce(name: str, options: LineageOptions | None = None, progress: Progress | None = None) -> ReproductionResult:
    """Run a reproduction by name, going on where its lineages were begun.

    Args:
        options: for those that play lineages; ignored by those that are arithmetic.

    Raises:
        KeyError: there is none of this name.
        ExperimentRefusedError, and `resources.SETUP_ERRORS`: as `reproduce_lineages`.
    """
    if name in ARITHMETIC:
        return ARITHMETIC[name]()
    if name not in CLAIMS:
        raise KeyError(f"{name}: there is no such reproduction. There are: {', '.join(REPRODUCTIONS)}.")
    if options is None:
        raise ValueError(f"{name} plays lineages: say with which model and where to, in `options`.")
    # Imported here: arithmetic needs no torch.
    from wmkml.laboratory.reproductions.lineages import reproduce_lineages

    progress = progress or Progress()
    progress.print_line(f"{name} with the understudy: about {ROUGH_TIMES[name]}, unless it is asked for otherwise.")
    lineages = functools.partial(reproduce_lineages, name, options, progress)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(lineages())
    # In a notebook a loop runs already, and it does not nest: another thread has a loop of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(lineages())).result()


def write_result(result: ReproductionResult, folder: Path) -> list[Path]:
    """Write a reproduction's text, tables (CSV, Markdown) and figure (PNG, SVG) into a folder; returns the files."""
    from wmkml.laboratory.analysis.figures import save_figure

    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{result.name}.txt": result.as_text(),
        f"{result.name}.md": result.as_markdown(),
        f"{result.name}.csv": result.to_frame().to_csv(index=False),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    return [folder / file for file in texts] + save_figure(reproduction_figure(result), folder / result.name)
