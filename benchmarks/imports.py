#!/usr/bin/env python3
"""What compiled modules save at the start of a process: processor time of its imports, with them and without.

`wmkml.install.bytecode` compiles the modules of env/ once.  Without them, and where Python may not keep what it compiled
(PYTHONDONTWRITEBYTECODE), each process compiles everything that it imports.  Both sides take turns.

    env/bin/python benchmarks/imports.py [--turns 3] [--modules wmkml.worker.main,torch]

Prints a table, and last one line of JSON; the ratio is that of medians.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

MODULES = ("wmkml.owner.main", "wmkml.inference.main", "wmkml.worker.main", "peft", "vllm.v1.engine.async_llm")
"""What the services import at start; the last two when they load a model."""


def main() -> int:
    """Measure each module on both sides in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="measurements of each side (3)")
    parser.add_argument("--modules", metavar="A,B", default=",".join(MODULES))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="wmkml-imports-") as nothing:
        without = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": nothing}
        for module in arguments.modules.split(","):
            if importlib.util.find_spec(module.partition(".")[0]) is None:
                print(f"{module}: not installed", file=sys.stderr)
                continue
            import_seconds(module, {})  # reads the files from the disk once
            sides = [(import_seconds(module, {}), import_seconds(module, without)) for _ in range(arguments.turns)]
            compiled, uncompiled = (statistics.median(side) for side in zip(*sides, strict=True))
            rows.append({"module": module, "compiled": compiled, "uncompiled": uncompiled})
            print(f"{module:<28}{compiled:>7.2f} s{uncompiled:>8.2f} s{uncompiled / compiled:>7.2f} times", flush=True)
    total = {side: sum(row[side] for row in rows) for side in ("compiled", "uncompiled")}
    print(json.dumps({"benchmark": "imports", "rows": rows, "ratio": total["uncompiled"] / total["compiled"]}))
    return 0


def import_seconds(module: str, environment: dict[str, str]) -> float:
    """Processor time of a process that imports a module, in seconds."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"import {module}"], cwd=PROJECT, env=inherited | environment, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{module} cannot be imported here.")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
