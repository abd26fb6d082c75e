"""Fetch a model from the hub into the models folder; continues where it was interrupted.

Exit status: 0 when the model is complete, 1 with a sentence on stderr when it cannot be fetched.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from wmkml.config import UNDERSTUDY, ConfigError, load_settings
from wmkml.config.paths import PROJECT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model_id", nargs="?", metavar="MODEL_ID", help="the model, as org/name (default: the model of config.yaml)"
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="where to save it (default: <org>--<name> in the models folder)"
    )
    parser.add_argument(
        "--token", default="", help="token for gated models (default: hf_token of config.yaml, else HF_TOKEN)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the config file (default: config.yaml beside download_model.py)"
    )


def main(arguments: argparse.Namespace) -> int:
    config: Path | None = arguments.config
    if config is None and (PROJECT / "config.yaml").is_file():
        config = PROJECT / "config.yaml"
    try:
        general = load_settings(config).general
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    model_id = arguments.model_id or general.model_name
    if model_id == UNDERSTUDY or Path(model_id).expanduser().is_dir():
        print(f"{model_id} is on this machine already; there is nothing to download.")
        return 0
    # Without this the hub's client reports to the hub what program uses it.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from wmkml.models.download import DownloadError, download, folder_of

    root = config.resolve().parent if config else PROJECT
    folder = arguments.to or folder_of(model_id, root / general.models_folder)
    token = arguments.token or general.hf_token.get_secret_value()
    output = _ProgressOutput(sys.stdout.isatty())
    try:
        seconds = 0.5 if output.live else 5.0
        download(model_id, folder, token, report=output.report, progress=output.progress, progress_seconds=seconds)
    except DownloadError as error:
        output.end()
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        output.end()
        print("Stopped. The next call goes on from here.", file=sys.stderr)
        return 1
    return 0


class _ProgressOutput:
    """Prints progress: one line that is overwritten on a terminal (`live`), separate lines elsewhere."""

    def __init__(self, live: bool) -> None:
        self.live, self.open = live, False

    def report(self, text: str) -> None:
        self.end()
        print(text, flush=True)

    def progress(self, text: str) -> None:
        if not self.live:
            print(text, flush=True)
            return
        print(f"\r\x1b[K{text}", end="", flush=True)
        self.open = True

    def end(self) -> None:
        if self.open:
            print(flush=True)
        self.open = False
