"""Draw the loss of any training in the terminal and as a picture; of one that is under way, too.

    python -m wmkml loss tests/fixtures/live_run
    python -m wmkml loss data/runs/… --follow
    python -m wmkml loss output/trainer_state.json logs/tensorboard history.csv --smooth 20 --png loss.png

Reads run folders and folders of them, trainer_state.json and checkpoints of Hugging Face's Trainer, TensorBoard's event
files, CSV and JSON lines: every column or tag with loss in its name.  Several sources are drawn together.
Exit status: 0 when losses were drawn, 2 when there are none.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.system.disk.output_files import unwritable, unwritable_problem

if TYPE_CHECKING:
    from pandas import DataFrame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("sources", nargs="+", type=Path, metavar="RUN|FILE", help="what holds the losses")
    parser.add_argument("--labels", metavar="NAME,NAME", help="what they are called (default: their names)")
    parser.add_argument(
        "--smooth", type=int, default=1, metavar="N", help="draw the mean of N steps (default: 1, as measured)"
    )
    parser.add_argument("--log", action="store_true", help="a logarithmic axis for the loss")
    parser.add_argument("--follow", action="store_true", help="draw again whenever something was written, until Ctrl-C")
    parser.add_argument(
        "--every", type=float, default=1.0, metavar="SECONDS", help="how often --follow looks (default: 1)"
    )
    parser.add_argument("--height", type=int, default=20, metavar="LINES", help="of the plot (default: 20)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="write the plot there, and beside it the same as SVG")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write what was read as a table")
    parser.add_argument("--json", metavar="FILE", help="write what was read as JSON there; -: print only that")


def main(arguments: argparse.Namespace) -> int:
    """Draw the losses.  Returns 2, with a sentence on stderr, when there are none."""
    from wmkml.laboratory.losses.reading import LossesError, read_losses

    if problem := _problem(arguments):
        print(problem, file=sys.stderr)
        return 2
    sources = tuple(arguments.sources)
    labels = tuple(name.strip() for name in arguments.labels.split(",")) if arguments.labels else ()
    if arguments.follow:
        return _follow(arguments, sources, labels)
    try:
        frame = read_losses(*sources, labels=labels)
    except LossesError as error:
        print(error, file=sys.stderr)
        return 2
    if not _is_written(arguments, frame):
        return 2
    if arguments.json == "-":
        print(json.dumps(summary(frame), ensure_ascii=False))
        return 0
    print(_plot(arguments, frame, sys.stdout.isatty()))
    print(_sentences(frame))
    return 0


def summary(frame: DataFrame) -> dict[str, Any]:
    """The losses of `read_losses` as JSON has them: every series with its points, first, last and lowest loss; null: no number."""
    series = []
    for (source, name), points in frame.groupby(["source", "series"], sort=False):
        losses = [loss for loss in points["loss"].tolist() if math.isfinite(loss)]
        series.append(
            {
                "source": source,
                "series": name,
                "count": len(points),
                "first": losses[0] if losses else None,
                "last": losses[-1] if losses else None,
                "lowest": min(losses, default=None),
                "not_finite": len(points) - len(losses),
                "points": [
                    {key: value for key, value in point.items() if value is not None or key == "loss"}
                    for point in _plain(points.drop(columns=["source", "series"]))
                ],
            }
        )
    return {"series": series}


def _plain(points: DataFrame) -> list[dict[str, Any]]:
    records = points.astype(object).where(points.notna(), None).to_dict("records")
    for record in records:
        # JSON has no infinity: a loss that is no number is null there.
        record |= {key: None for key, value in record.items() if isinstance(value, float) and not math.isfinite(value)}
        record["step"] = int(record["step"]) if float(record["step"]).is_integer() else record["step"]
        record["iteration"] = None if record["iteration"] is None else int(record["iteration"])
    return [{str(key): value for key, value in record.items()} for record in records]


def _problem(arguments: argparse.Namespace) -> str:
    if arguments.smooth < 1:
        return f"--smooth: {arguments.smooth} is not allowed; allowed: at least 1."
    if arguments.every <= 0:
        return f"--every: {arguments.every:g} is not allowed; allowed: above 0 seconds."
    if arguments.follow and arguments.json:
        return "--follow draws; --json is for losses that are all there. Give one of them."
    return unwritable_problem(arguments.csv, arguments.json)


def _plot(arguments: argparse.Namespace, frame: DataFrame, terminal: bool) -> str:
    import shutil

    from wmkml.laboratory.losses.terminal import loss_plot

    size = (shutil.get_terminal_size((100, 24)).columns, arguments.height)
    return loss_plot(
        frame, smooth=arguments.smooth, log=arguments.log, title=_title(frame), size=size, colours=terminal
    )


def _title(frame: DataFrame) -> str:
    sources = list(frame["source"].unique())
    smoothed = f"loss of {sources[0]}" if len(sources) == 1 else f"loss of {len(sources)} trainings"
    return smoothed


def _sentences(frame: DataFrame) -> str:
    lines = []
    for entry in summary(frame)["series"]:
        name = f"{entry['source']}, {entry['series']}"
        if entry["last"] is None:
            lines.append(f"{name}: {entry['count']} losses, none of them a number: the training has failed.")
            continue
        bad = f"; {entry['not_finite']} are not finite" if entry["not_finite"] else ""
        lines.append(
            f"{name}: {entry['count']} losses, from {entry['first']:.4g} to {entry['last']:.4g}, "
            f"lowest {entry['lowest']:.4g}{bad}"
        )
    return "\n".join(lines)


def _is_written(arguments: argparse.Namespace, frame: DataFrame) -> bool:
    """Write what is asked for; False, with a sentence on stderr, where that cannot be."""
    try:
        _write(arguments, frame)
    except OSError as error:
        print(unwritable(error, arguments.png, arguments.csv, arguments.json), file=sys.stderr)
        return False
    return True


def _write(arguments: argparse.Namespace, frame: DataFrame) -> None:
    from wmkml.laboratory.analysis.figures import save_figure
    from wmkml.laboratory.losses.figures import loss_figure

    if arguments.png is not None:
        arguments.png.parent.mkdir(parents=True, exist_ok=True)
        figure = loss_figure(frame, smooth=arguments.smooth, log=arguments.log, title=_title(frame))
        path = arguments.png
        for file in save_figure(figure, path.with_suffix("") if path.suffix.lower() in (".png", ".svg") else path):
            print(f"Written: {file}", file=sys.stderr)
    if arguments.csv is not None:
        frame.to_csv(arguments.csv, index=False)
        print(f"Written: {arguments.csv}", file=sys.stderr)
    if arguments.json not in (None, "-"):
        text = json.dumps(summary(frame), ensure_ascii=False, indent=1)
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")


def _follow(arguments: argparse.Namespace, sources: tuple[Path, ...], labels: tuple[str, ...]) -> int:
    """Draw until Ctrl-C.  On a terminal the plot is overwritten, elsewhere each change is a line."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from wmkml.laboratory.losses.following import follow
    from wmkml.laboratory.losses.reading import LossesError

    console = Console()

    # Not KeyboardInterrupt: raised within a drawing library's callback it would be lost.
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())

    def wait() -> bool:
        return not stop.wait(arguments.every)

    try:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            for state in follow(sources, wait, labels):
                if isinstance(state, LossesError):
                    shown = f"Waiting: {state}"
                elif console.is_terminal:
                    shown = f"{_plot(arguments, state, terminal=True)}\n{_sentences(state)}\nCtrl-C ends."
                else:
                    shown = _sentences(state)
                if console.is_terminal:
                    live.update(Text.from_ansi(shown), refresh=True)
                else:
                    print(shown, flush=True)
                if not isinstance(state, LossesError) and not _is_written(arguments, state):
                    return 2
    finally:
        signal.signal(signal.SIGINT, before)
    return 0
