#!/usr/bin/env python3
"""What only a GPU can show, in ten minutes, on whoever's GPU: does it start, is it right, how fast is it.

Steps stand in order of worth.  Each runs in a process of its own and within its own limit, so that a crash, an exhausted
memory or a hang of one ends neither the next nor this program, and leaves no memory behind.  The model is random and of
Mistral-7B's shape, made on the card: no network is needed.  Training is bound by arithmetic (its rate is printed as a
share of what the card reaches on matrix products of the model's own shapes), decoding of few streams by memory traffic.
Needs torch, transformers and peft; vLLM, liger-kernel and bitsandbytes are used where they are installed, and `not run`,
with the reason, is a result.  `docs/gpu.md` says what each step shows and what is expected.

    env/bin/python benchmarks/gpu.py [--steps rounds,adapter] [--list] [--precision nf4] [--folder FOLDER]
    env/bin/python benchmarks/gpu.py --shape tiny      # a trial of this script, also on a CPU; no figure of it counts

Prints a line of JSON for each step when it ends, then a table, and last one line of JSON with everything.  Ends with
status 1 if a step has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gpu_steps.step import (
    PROJECT,
    FigureRecorder,
    StepFailedError,
    StepFunction,
    StepNotRunError,
    StepSetting,
)
from wmkml.system.gpu_environment import gpu_environment

MARK_VARIABLE = "WMKML_GPU_STEP"
"""Environment variable that every process of a step carries, so that all of them can be ended with it."""


@dataclass(frozen=True)
class Step:
    """One step: its name, the most seconds it may take, what it shows, the steps that it needs the files of.

    `trial`: it is not part of the whole, and shows that this script survives its steps; `extra`: nor is this one, which
    compares settings and takes its time.
    """

    name: str
    limit: float
    shows: str
    needs: tuple[str, ...] = ()
    trial: bool = False
    extra: bool = False


STEPS = (
    Step("tools", 15, "driver, CUDA of torch, nvcc, gcc, Python.h, memory, /dev/shm"),
    Step("model", 50, "a random model of Mistral-7B's shape is made on the card, written, and loaded as configured"),
    Step(
        "rounds",
        60,
        "rounds of 60 and 180 samples: speed, memory against the plan, gradients, a changed adapter",
        ("model",),
    ),
    Step("profile", 20, "one micro-batch of 4,096 tokens: the ten most expensive kernels", ("model",)),
    Step("gradients", 25, "the same gradients in micro-batches of 4,096, of 1,024 and one by one", ("model",)),
    Step("kernels", 40, "a round padded and packed, without and with Liger's kernels", ("model",)),
    Step("optimizers", 15, "a step of AdamW, fused and in 8 bits", ("model",)),
    Step("recovery", 25, "a round with 0.3 of the card's memory halves its micro-batches and finishes", ("model",)),
    Step("nf4", 30, "a round in nf4 within 24 GB", ("model",)),
    Step(
        "adapter",
        45,
        "adapters are written, served by the transformers engine and proved; answers compared",
        ("model",),
    ),
    Step("cluster", 90, "the cluster with the understudy, engine and worker on one card, rehearsed for two rounds"),
    Step("kill", 25, "SIGKILL of a worker that holds the model: the memory is free again", ("model",)),
    Step("vllm", 100, "vLLM: start, a proved swap under 64 streams, their speed", ("model", "adapter")),
    Step(
        "devices",
        60,
        "a round on one GPU, and on all that there are, with the whole model and a part of it",
        ("model",),
    ),
    Step(
        "vllm_variants",
        480,
        "vLLM reading 512 to 2,048 tokens a step, and with graphs for every number of adapters: start, speed, stall",
        ("model", "adapter"),
        extra=True,
    ),
    Step("broken", 20, "raises", trial=True),
    Step("hangs", 2, "never ends", trial=True),
    Step("crashes", 20, "ends without a word", trial=True),
)


def main() -> int:
    """Run the chosen steps and print what they show."""
    signal.signal(signal.SIGTERM, _end)
    arguments = _parser().parse_args()
    if arguments.run is not None:
        run_here(arguments.run, StepSetting(arguments.folder, arguments.shape, arguments.precision))
        return 0
    if arguments.list:
        print("\n".join(_listed()))
        return 0
    chosen = chosen_steps(arguments.steps)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wmkml-gpu-")))
        folder.mkdir(parents=True, exist_ok=True)
        setting = StepSetting(folder.resolve(), arguments.shape, arguments.precision)
        if setting.trial:
            print(
                "A trial of this script with a tiny model: none of its figures says anything of a GPU.", file=sys.stderr
            )
        lines = []
        for step in chosen:
            _say(began, f"{step.name}: {step.shows} (at most {step.limit * arguments.patience:.0f} s)")
            lines.append(run_apart(step, setting, step.limit * arguments.patience))
            print(json.dumps(lines[-1]), flush=True)
    print("\n".join(["", *_table(lines, setting), ""]))
    failed = [line["step"] for line in lines if line["result"] == "failed"]
    summary = {
        "benchmark": "gpu",
        "trial": setting.trial,
        "shape": setting.shape,
        "precision": setting.precision,
        "device": next((line["device"] for line in lines if "device" in line), None),
        "seconds": round(time.monotonic() - began, 1),
        "failed": failed,
        "not_run": [line["step"] for line in lines if line["result"] == "not run"],
        "steps": lines,
    }
    print(json.dumps(summary), flush=True)
    return 1 if failed else 0


def chosen_steps(names: str | None) -> list[Step]:
    """The steps of a list with commas, and those that they need, in this file's order; None: all that are part of the whole.

    An unknown name ends the program with status 2 and the list of all.
    """
    if names is None:
        return [step for step in STEPS if not step.trial and not step.extra]
    by_name = {step.name: step for step in STEPS}
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := sorted(wanted - by_name.keys()):
        print(f"--steps: there is no step {', '.join(unknown)}. There are:", *_listed(), sep="\n", file=sys.stderr)
        raise SystemExit(2)
    wanted |= {needed for name in wanted for needed in by_name[name].needs}
    return [step for step in STEPS if step.name in wanted]


def run_apart(step: Step, setting: StepSetting, limit: float) -> dict[str, Any]:
    """Run a step in a process of its own, end whatever is left of it, and return its line."""
    outcome, log = setting.folder / f"{step.name}.json", setting.folder / f"{step.name}.log"
    outcome.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--run", step.name, "--folder", str(setting.folder)]
    command += ["--shape", setting.shape, "--precision", setting.precision]
    mark = f"{os.getpid()}-{step.name}"
    environment = {
        **os.environ,
        # As the launcher gives it to whatever has a GPU.
        **gpu_environment(),
        MARK_VARIABLE: mark,
        # A child that sets its process title would write it over its environment, and so over the mark.
        "SPT_NOENV": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    began, status = time.monotonic(), None
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(limit)
        finally:
            seconds = time.monotonic() - began
            _end_all(process, mark)
    figures: dict[str, Any] = json.loads(outcome.read_text(encoding="utf-8")) if outcome.is_file() else {}
    result, reason = figures.pop("result", None), figures.pop("reason", "")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if status is None:
        result, reason = "failed", f"was not over after {limit:.0f} s, and was ended"
    elif result is None:
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        result, reason = "failed", f"ended with {name}: {lines[-1] if lines else 'it printed nothing'}"
    if result == "failed":
        print(*(f"    {line}" for line in lines[-25:]), sep="\n", file=sys.stderr, flush=True)
    return {"step": step.name, "result": result, "seconds": round(seconds, 1), **figures, "reason": reason}


def _end_all(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill a step's process group, and what left it (supervised services, an engine's processes)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Without psutil no such processes were started: supervision and vLLM need it themselves.
    if importlib.util.find_spec("psutil") is not None:
        from wmkml.system.orphans import Mark, end_marked_processes

        end_marked_processes(Mark(MARK_VARIABLE, mark), grace_seconds=0)


def run_here(name: str, setting: StepSetting) -> None:
    """Run a step in this process, which is its own, and leave figures and outcome in its file."""
    record = FigureRecorder(setting.folder / f"{name}.json")
    try:
        _function(name)(setting, record)
    except StepNotRunError as error:
        record.close("not run", str(error))
    except StepFailedError as error:
        record.close("failed", str(error))
    except Exception as error:
        record.close("failed", f"{type(error).__name__}: {error}")
        raise
    else:
        record.close("ok")


def _function(name: str) -> StepFunction:
    """A step's function.  Its module is imported here, in the step's own process, and no other: each takes seconds."""
    if name in TRIAL_FUNCTIONS:
        return TRIAL_FUNCTIONS[name]
    module, function_name = FUNCTIONS[name]
    function: StepFunction = getattr(importlib.import_module(f"benchmarks.gpu_steps.{module}"), function_name)
    return function


FUNCTIONS = {
    "tools": ("machine", "tools"),
    "model": ("training", "make_model"),
    "rounds": ("training", "rounds"),
    "profile": ("kernels", "profile"),
    "gradients": ("kernels", "gradients"),
    "kernels": ("kernels", "fast_kernels"),
    "optimizers": ("kernels", "optimizers"),
    "recovery": ("training", "recovery"),
    "nf4": ("training", "nf4"),
    "adapter": ("serving", "adapter"),
    "cluster": ("serving", "cluster"),
    "kill": ("machine", "kill_worker"),
    "vllm": ("serving", "vllm"),
    "devices": ("devices", "devices"),
    "vllm_variants": ("vllm_variants", "vllm_variants"),
}
"""By step: the module in `benchmarks/gpu_steps/` and the function in it."""


def _broken(setting: StepSetting, record: FigureRecorder) -> None:
    record(figure=1.0, broken_figure=float("nan"))
    raise RuntimeError("this step is broken, for a trial")


def _crashes(setting: StepSetting, record: FigureRecorder) -> None:
    record(figure=1.0)
    os.kill(os.getpid(), signal.SIGSEGV)


def _hangs(setting: StepSetting, record: FigureRecorder) -> None:
    record(figure=1.0)
    # A child in a session of its own, as supervision starts them.
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(600)


TRIAL_FUNCTIONS: dict[str, StepFunction] = {"broken": _broken, "crashes": _crashes, "hangs": _hangs}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", metavar="A,B", help="only these steps, and those they need (all)")
    parser.add_argument("--list", action="store_true", help="list the steps with their limits, and run none")
    parser.add_argument(
        "--shape", choices=("mistral-7b", "tiny"), default="mistral-7b", help="of the model (mistral-7b)"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "bfloat16", "float32", "nf4"),
        default="auto",
        help="of the base model in training (auto)",
    )
    parser.add_argument("--folder", type=Path, help="keep the model here, 14 GiB, and take it from here the next time")
    parser.add_argument("--patience", type=float, default=1.0, help="factor on all limits, for a slow disk (1)")
    parser.add_argument("--run", choices=[step.name for step in STEPS], help=argparse.SUPPRESS)
    return parser


def _listed() -> list[str]:
    steps = [step for step in STEPS if not step.trial and not step.extra]
    rows = [f"  {step.name:<11}{step.limit:>4.0f} s  {step.shows}" for step in steps]
    extras = [
        f"  {step.name}, {step.limit:.0f} s, only where --steps names it: {step.shows}" for step in STEPS if step.extra
    ]
    trials = ", ".join(f"{step.name} ({step.shows})" for step in STEPS if step.trial)
    return [
        *rows,
        f"  {'in all':<11}{sum(step.limit for step in steps):>4.0f} s",
        *extras,
        f"  trials of this script: {trials}",
    ]


def _table(lines: list[dict[str, Any]], setting: StepSetting) -> list[str]:
    """A row for each step, and below it a row for each round or kernel."""
    head = "A TRIAL OF THIS SCRIPT WITH A TINY MODEL, NO MEASUREMENT OF A GPU" if setting.trial else setting.shape
    rows = [head, f"{'step':<11}{'result':<9}{'seconds':>7}  figures"]
    for line in lines:
        figures = {name: line[name] for name in line if name not in ("step", "result", "seconds", "reason")}
        tables = {
            name: value
            for name, value in figures.items()
            if value and isinstance(value, list) and isinstance(value[0], dict)
        }
        short = ", ".join(f"{name} {_shown(value)}" for name, value in figures.items() if name not in tables)
        rows.append(f"{line['step']:<11}{line['result']:<9}{line['seconds']:>7.1f}  {line['reason'] or short}")
        if line["reason"] and short:
            rows.append(f"{'':<29}{short}")
        for name, table in tables.items():
            rows += [
                f"{'':<29}{name}: {', '.join(f'{key} {_shown(value)}' for key, value in row.items())}" for row in table
            ]
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return (
            "(" + ", ".join(f"{name} {_shown(content)}" for name, content in value.items() if content is not None) + ")"
        )
    if isinstance(value, list):
        return " ".join(map(_shown, value)) or "none"
    return "none" if value is None else str(value)


def _say(began: float, sentence: str) -> None:
    print(f"[{time.monotonic() - began:3.0f} s] {sentence}", file=sys.stderr, flush=True)


def _end(number: int, frame: object) -> NoReturn:
    # As an exception, so that the step under way and the temporary folder go too.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
