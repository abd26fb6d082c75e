"""`master_script.sh install`: makes `env/` and installs what this machine needs; a second call finds nothing to do.

Standard library only, run by the system's Python.  `env/installed.json`, written last, says that everything is installed:
an interrupted installation is continued, a broken one is made anew.  `steps.py` decides what is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from wmkml.install import environment, pages_build, steps
from wmkml.install.bytecode import compile_modules
from wmkml.install.decency import ask_once
from wmkml.install.decision import Decision, bring_tools, decide, preparations, prepare, usable_cards
from wmkml.install.driver import CannotServeError, Card, parse_cards
from wmkml.install.free_space import NoSpaceError
from wmkml.install.gpu_check import GpusNotReachedError, check_gpus
from wmkml.install.toolchain import ToolMissingError
from wmkml.system.gpus import GPUS_VARIABLE, GpusUnknownError, pretended_gpus

PROJECT = Path(__file__).resolve().parent.parent.parent

REPORT_SECONDS = 5.0
"""How often the progress of a running pip is reported."""

IMPORTED = (
    "torch",
    "transformers",
    "peft",
    "fastapi",
    "uvicorn",
    "httpx",
    "prometheus_client",
    "supervisor",
    "pythonosc",
    "psutil",
    "yaml",
)
"""What must be importable before an environment counts as complete."""


CANNOT_GO_ON = (
    CannotServeError,
    ToolMissingError,
    NoSpaceError,
    GpusNotReachedError,
    GpusUnknownError,
    environment.CannotMakeError,
)
"""What is wrong with the machine; the text is for the operator."""


class CannotInstallError(RuntimeError):
    """The installation cannot go on.  The text says where it stopped and what to do."""


class ProgressLog:
    """Prints lines with the seconds since the installation began."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()

    def report(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began_at:4.0f} s] {text}", flush=True)


def main() -> int:
    """Install, or print what would be installed."""
    parser = argparse.ArgumentParser(prog="master_script.sh install", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would be installed, and install nothing")
    parser.add_argument("--again", action="store_true", help="throw env/ away and make it anew")
    parser.add_argument("--tests", action="store_true", help="also what the tests need")
    parser.add_argument("--platform", default=sys.platform, help="with --dry-run: as if on linux, or darwin (macOS)")
    parser.add_argument(
        "--nvidia-smi",
        action="append",
        metavar="'DRIVER, CAPABILITY, NAME'",
        help="with --dry-run: as if nvidia-smi listed this card, as in '550.54.15, 8.0, NVIDIA A100-SXM4-80GB'; once for each",
    )
    parser.add_argument("--env", type=Path, default=PROJECT / "env", help="default: env/ beside master_script.sh")
    parser.add_argument(
        "--ask", action="store_true", help="at a terminal, ask afterwards what a room may hear repeated"
    )
    arguments = parser.parse_args()
    if arguments.dry_run:
        return _dry_run(arguments)
    try:
        with environment.held(arguments.env, ProgressLog().report):
            install(arguments.env, tests=arguments.tests, again=arguments.again)
            build_pages(PROJECT / "frontend", arguments.env)
        if arguments.ask:
            ask_once(PROJECT / "config.yaml")
    except (CannotInstallError, *CANNOT_GO_ON) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The next call goes on from here.", file=sys.stderr)
        return 130
    return 0


def _dry_run(arguments: argparse.Namespace) -> int:
    # WMKML_GPUS counts here only: planning for a pretended machine must not change what is installed on this one.
    description = os.environ.get(GPUS_VARIABLE, "").strip()
    try:
        decision = decide(arguments.platform, _pretended_cards(arguments.nvidia_smi, description))
    except GpusUnknownError as error:
        print(error, file=sys.stderr)
        return 2
    except CannotServeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Into {arguments.env}, with Python {sys.version.split()[0]} ({sys.executable}):")
    way = next(environment.ways(arguments.env), None)
    own = way is not None and way.pip_source == environment.ENSUREPIP
    print(f"  pip: {'its own' if own else way.pip_source if way else 'nowhere; without --dry-run it says what to do'}")
    print(f"  machine: {decision.reason}")
    for line in preparations(decision, arguments.env):
        print(f"  {line}")
    for step in steps.install_steps(decision.flavour, arguments.tests):
        print(f"  {step.name}: {step.reason}\n    pip {' '.join(step.pip)}")
        if step.fallback:
            print(f"    or, if that is not found: pip {' '.join(step.fallback)}")
    if decision.gpus:
        print(
            f"  Then torch must compute on {decision.gpus} GPU{'s' if decision.gpus > 1 else ''}, as many as nvidia-smi counts."
        )
    return 0


def _pretended_cards(lines: list[str] | None, description: str) -> tuple[Card, ...]:
    if lines:
        return parse_cards("\n".join(lines))
    if description:
        return tuple(Card(gpu.name, None, None) for gpu in pretended_gpus(description))
    return usable_cards(os.environ)


def install(env: Path, *, tests: bool, again: bool = False) -> None:
    """Make sure that `env` holds everything this machine needs.

    Args:
        tests: also what the tests need; an environment that has it keeps it.
        again: make the environment anew, whatever it holds.

    Raises:
        CannotInstallError, or one of CANNOT_GO_ON: something cannot be installed; a working environment is left as it was.
    """
    stamp = read_stamp(env)
    decision = decide(sys.platform, usable_cards(os.environ), stamp)
    flavour = decision.flavour
    tests = tests or bool(stamp and stamp["tests"])
    progress = ProgressLog()
    if not again and stamp and stamp["digest"] == steps.digest(PROJECT, flavour, tests):
        if decision.gpus is not None:
            bring_tools(decision, progress.report)
        if decision.is_installed(stamp, stamp["digest"]):
            if not decision.was_checked(stamp):
                _check_gpus(env, decision, progress)
                _write_stamp(env, decision, tests)
            return
    progress.report(f"Installing what this machine needs into {env}; the first time takes minutes.")
    progress.report(f"This machine: {decision.reason}.")
    changed = bool(stamp and stamp["flavour"] != flavour)
    if changed:
        progress.report(
            f"{env.name}/ was made for another kind of machine ({stamp and stamp['flavour']}, now {flavour})."
        )
    go_on = not again and not changed and environment.is_usable(env)
    prepare(decision, env, progress.report, anew=not go_on)
    if go_on:
        (env / "installed.json").unlink(missing_ok=True)
        progress.report("env/ is there; installing what is missing in it.")
        try:
            _install_steps(env, decision, tests, progress)
            return
        except _EnvironmentBrokenError as error:
            progress.report(f"env/ is broken ({error}); making it anew.")
    _make_anew(env, decision, tests, progress)


def build_pages(pages: Path, env: Path) -> None:
    """Make sure that the web pages are built.  A failure is printed; everything else runs without them."""
    if pages_build.is_built(pages):
        return
    progress = ProgressLog()
    try:
        pages_build.build(pages, env, lambda arguments: _pip(arguments, env, progress), progress.report)
    except pages_build.CannotBuildError as error:
        consequence = (
            "The pages of before stay."
            if (pages / "dist" / "index.html").is_file()
            else "There are no pages until then."
        )
        print(f"The web pages could not be built: {error} {consequence} The next start tries again.", file=sys.stderr)
    else:
        progress.report("The web pages are built.")


def read_stamp(env: Path) -> dict[str, Any] | None:
    """The record of what is installed in `env`; None unless the installation was completed and its Python is still there."""
    path = env / "installed.json"
    if not path.is_file() or not os.access(environment.python_of(env), os.X_OK):
        return None
    try:
        stamp: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return stamp if {"digest", "flavour", "tests"} <= stamp.keys() else None


def wanted_flavour(stamp: dict[str, Any] | None) -> steps.Flavour:
    """The flavour for this machine: one for GPUs stays, also while no GPU is detected.

    Raises:
        CannotServeError: there are GPUs, and no build of torch and vLLM runs on them.
    """
    return decide(sys.platform, usable_cards(os.environ), stamp).flavour


class _EnvironmentBrokenError(RuntimeError):
    """Everything was installed, but something cannot be imported."""


def _make_anew(env: Path, decision: Decision, tests: bool, progress: ProgressLog) -> None:
    backup = env.with_name(env.name + ".before")
    # A working environment is kept until the new one works: without a network the machine must go on as it is.
    if read_stamp(env) is not None:
        shutil.rmtree(backup, ignore_errors=True)
        env.rename(backup)
    try:
        progress.report(f"Making {env.name}/ with Python {sys.version.split()[0]} ({sys.executable}).")
        environment.make(env, progress.report)
        try:
            _install_steps(env, decision, tests, progress)
        except _EnvironmentBrokenError as error:
            raise CannotInstallError(f"Everything was installed, but {error}. See {_log_file(env)}.") from None
    except BaseException:
        if (backup / "installed.json").is_file():
            shutil.rmtree(env, ignore_errors=True)
            backup.rename(env)
        raise
    shutil.rmtree(backup, ignore_errors=True)


def _install_steps(env: Path, decision: Decision, tests: bool, progress: ProgressLog) -> None:
    needed = steps.install_steps(decision.flavour, tests)
    for number, step in enumerate(needed, start=1):
        done = step.marker is not None and any(env.glob(f"lib/python3.*/site-packages/{step.marker}"))
        progress.report(f"{number} of {len(needed)}: {step.name}: {'is there already' if done else step.reason}.")
        if not done:
            _install_step(step, env, progress)
    progress.report("Compiling Python modules, so that every start is quicker.")
    compile_modules(env, PROJECT / "wmkml")
    progress.report("Checking that all of it can be imported.")
    check = subprocess.run(
        [environment.python_of(env), "-c", f"import {', '.join(IMPORTED)}"], capture_output=True, text=True, check=False
    )
    if check.returncode != 0:
        raise _EnvironmentBrokenError((check.stderr.strip().splitlines() or ["importing failed"])[-1])
    _check_gpus(env, decision, progress)
    _write_stamp(env, decision, tests)
    progress.report("All is installed; the next start installs nothing.")


def _check_gpus(env: Path, decision: Decision, progress: ProgressLog) -> None:
    if decision.gpus is not None:
        progress.report(f"Checking that torch computes on all {decision.gpus} GPUs.")
        check_gpus(environment.python_of(env), decision.gpus, decision.library_path)


def _write_stamp(env: Path, decision: Decision, tests: bool) -> None:
    flavour = decision.flavour
    stamp: dict[str, Any] = {"digest": steps.digest(PROJECT, flavour, tests), "flavour": flavour, "tests": tests}
    temporary = env / "installed.json.new"
    temporary.write_text(json.dumps(stamp | decision.machine()) + "\n", encoding="utf-8")
    temporary.replace(env / "installed.json")


def _install_step(step: steps.InstallStep, env: Path, progress: ProgressLog) -> None:
    output = _pip(step.pip, env, progress)
    if output is None:
        return
    unavailable = "No matching distribution found" in output
    if step.fallback is not None:
        progress.report(f"Not found there; trying {step.fallback[-1]}.")
        output = _pip(step.fallback, env, progress)
        if output is None:
            return
    if step.optional is not None and unavailable:
        progress.report(step.optional)
        return
    reasons = [line for line in output.splitlines() if line.startswith("ERROR")] or output.splitlines()[-3:]
    raise CannotInstallError(
        "\n".join([f"{step.name} could not be installed:", *reasons, f"All of pip's words: {_log_file(env)}"])
    )


def _log_file(env: Path) -> Path:
    return env / "install.log"


def _pip(arguments: tuple[str, ...], env: Path, progress: ProgressLog) -> str | None:
    """Call the environment's pip, reporting its progress; returns None if it succeeded, else its output."""
    subcommand, *others = arguments
    # pip compiles on one core; `compile_modules` does it on all, in the end.
    options = () if subcommand == "uninstall" else ("--progress-bar", "off", "--no-compile")
    command = [str(environment.python_of(env)), "-m", "pip", subcommand, *options, *others]
    process = subprocess.Popen(
        [*command, "--disable-pip-version-check", "--no-input"],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_put_lines, args=(process, lines), daemon=True).start()
    output: list[str] = []
    reported_line = ""
    reported_at = time.monotonic()
    with _log_file(env).open("a", encoding="utf-8") as log:
        while True:
            try:
                line = lines.get(timeout=1.0)
            except queue.Empty:
                pass  # No output; the progress is reported all the same.
            else:
                if line is None:
                    break
                output.append(line.rstrip())
                log.write(line)
            if output and time.monotonic() - reported_at >= REPORT_SECONDS:
                reported_at = time.monotonic()
                progress.report(f"  {output[-1].strip()[:100]}" if output[-1] != reported_line else "  … still at it")
                reported_line = output[-1]
    return None if process.wait() == 0 else "\n".join(output)


def _put_lines(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    if process.stdout is not None:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


if __name__ == "__main__":
    sys.exit(main())
