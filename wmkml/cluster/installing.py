"""`master_script.sh install`: makes `env/` and installs what this machine needs, once; a second start finds nothing to do.

Standard library alone, and run by the system's Python.  `env/installed.json`, written last, says that all of it is there:
an interrupted installation is taken up, a broken one is made again.  What is needed is `needs.py`'s decision.
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

from wmkml.cluster import fresh_env, frontend, needs
from wmkml.cluster.machine import GPUS_VARIABLE, MachineError, detected_gpus, pretended_gpus

PROJECT = Path(__file__).resolve().parent.parent.parent

TELL_SECONDS = 5.0

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
"""What must be importable before an environment counts as whole."""


class CannotInstall(RuntimeError):
    """The installation cannot go on.  Its text says where it stopped and what to do."""


class Clock:
    """Says what is going on, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:4.0f} s] {text}", flush=True)


def main() -> int:
    """Install, or say what would be installed."""
    parser = argparse.ArgumentParser(prog="master_script.sh install", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would be installed, and install nothing")
    parser.add_argument("--again", action="store_true", help="throw env/ away and make it anew")
    parser.add_argument("--tests", action="store_true", help="also what the tests need")
    parser.add_argument("--platform", default=sys.platform, help="with --dry-run: as if on linux, or darwin (macOS)")
    parser.add_argument("--env", type=Path, default=PROJECT / "env", help="default: env/ beside master_script.sh")
    arguments = parser.parse_args()
    if arguments.dry_run:
        return _dry_run(arguments)
    try:
        install(arguments.env, tests=arguments.tests, again=arguments.again)
        build_pages(PROJECT / "frontend", arguments.env)
    except (CannotInstall, fresh_env.CannotMake) as error:
        print(f"{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The next call goes on from here.", file=sys.stderr)
        return 130
    return 0


def _dry_run(arguments: argparse.Namespace) -> int:
    # Only here does WMKML_GPUS count: a plan for a pretended machine must not change what is installed on this one.
    wish = os.environ.get(GPUS_VARIABLE, "").strip()
    try:
        gpus = len(pretended_gpus(wish) if wish else detected_gpus())
    except MachineError as error:
        print(error, file=sys.stderr)
        return 2
    flavour = needs.flavour_of(arguments.platform, gpus)
    print(f"Into {arguments.env}, with Python {sys.version.split()[0]} ({sys.executable}):")
    print(f"  pip: {'its own' if fresh_env.has_ensurepip() else 'fetched from the package index'}")
    for step in needs.steps_of(flavour, arguments.tests):
        print(f"  {step.what}: {step.why}\n    pip {' '.join(step.pip)}")
        if step.otherwise:
            print(f"    or, if that is not found: pip {' '.join(step.otherwise)}")
    return 0


def install(env: Path, *, tests: bool, again: bool = False) -> None:
    """Make sure that `env` holds all this machine needs.

    Raises:
        CannotInstall, CannotMake: something is missing that we cannot get; what there was before is left as it was.
    """
    stamp = read_stamp(env)
    flavour = wanted_flavour(stamp)
    tests = tests or bool(stamp and stamp["tests"])
    if not again and stamp and stamp["digest"] == needs.digest(PROJECT, flavour, tests):
        return
    clock = Clock()
    clock.say(f"Installing what this machine needs into {env}; the first time takes minutes.")
    other = bool(stamp and stamp["flavour"] != flavour)
    if other:
        clock.say(f"{env.name}/ was made for another kind of machine ({stamp and stamp['flavour']}, now {flavour}).")
    if not again and not other and fresh_env.works(env):
        (env / "installed.json").unlink(missing_ok=True)
        clock.say("env/ is there; installing what is missing in it.")
        try:
            _fill(env, flavour, tests, clock)
            return
        except _Broken as error:
            clock.say(f"env/ is broken ({error}); making it anew.")
    _make_anew(env, flavour, tests, clock)


def build_pages(pages: Path, env: Path) -> None:
    """Make sure that the web pages are built.  What keeps them from it is said, and is no reason not to start the rest."""
    if frontend.is_built(pages):
        return
    clock = Clock()
    try:
        frontend.build(pages, env, lambda words: _pip(words, env, env / "install.log", clock), clock.say)
    except frontend.CannotBuild as error:
        kept = (
            "The pages of before stay."
            if (pages / "dist" / "index.html").is_file()
            else "There are no pages until then."
        )
        print(f"The web pages could not be built: {error} {kept} The next start tries again.", file=sys.stderr)
    else:
        clock.say("The web pages are built.")


def read_stamp(env: Path) -> dict[str, Any] | None:
    """What is installed in `env`, if all of it is and its Python is still there."""
    path = env / "installed.json"
    if not path.is_file() or not os.access(fresh_env.python_of(env), os.X_OK):
        return None
    try:
        stamp: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return stamp if {"digest", "flavour", "tests"} <= stamp.keys() else None


def wanted_flavour(stamp: dict[str, Any] | None) -> needs.Flavour:
    """The flavour for this machine; a GPU that is away this morning does not take its environment with it."""
    if stamp and stamp["flavour"] == "cuda":
        return "cuda"
    return needs.flavour_of(sys.platform, len(detected_gpus()))


class _Broken(RuntimeError):
    """Everything was installed, and something cannot be imported all the same."""


def _make_anew(env: Path, flavour: needs.Flavour, tests: bool, clock: Clock) -> None:
    before = env.with_name(env.name + ".before")
    # The one that works is kept until the new one does: without a network the machine must go on as it is.
    if read_stamp(env) is not None:
        shutil.rmtree(before, ignore_errors=True)
        env.rename(before)
    try:
        clock.say(f"Making {env.name}/ with Python {sys.version.split()[0]} ({sys.executable}).")
        fresh_env.make(env, clock.say)
        try:
            _fill(env, flavour, tests, clock)
        except _Broken as error:
            raise CannotInstall(f"Everything was installed, but {error}. See {env / 'install.log'}.") from None
    except BaseException:
        if (before / "installed.json").is_file():
            shutil.rmtree(env, ignore_errors=True)
            before.rename(env)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _fill(env: Path, flavour: needs.Flavour, tests: bool, clock: Clock) -> None:
    steps = needs.steps_of(flavour, tests)
    for number, step in enumerate(steps, start=1):
        done = step.already is not None and any(env.glob(f"lib/python3.*/site-packages/{step.already}"))
        clock.say(f"{number} of {len(steps)}: {step.what}: {'is there already' if done else step.why}.")
        if not done:
            _do(step, env, clock)
    clock.say("Checking that all of it can be imported.")
    check = subprocess.run(
        [fresh_env.python_of(env), "-c", f"import {', '.join(IMPORTED)}"], capture_output=True, text=True, check=False
    )
    if check.returncode != 0:
        raise _Broken((check.stderr.strip().splitlines() or ["importing failed"])[-1])
    stamp = {"digest": needs.digest(PROJECT, flavour, tests), "flavour": flavour, "tests": tests}
    temporary = env / "installed.json.new"
    temporary.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    temporary.replace(env / "installed.json")
    clock.say("All is installed; the next start installs nothing.")


def _do(step: needs.Step, env: Path, clock: Clock) -> None:
    log = env / "install.log"
    output = _pip(step.pip, env, log, clock)
    if output is None:
        return
    unavailable = "No matching distribution found" in output
    if step.otherwise is not None:
        clock.say(f"Not found there; trying {step.otherwise[-1]}.")
        output = _pip(step.otherwise, env, log, clock)
        if output is None:
            return
    if step.without is not None and unavailable:
        clock.say(step.without)
        return
    reasons = [line for line in output.splitlines() if line.startswith("ERROR")] or output.splitlines()[-3:]
    raise CannotInstall("\n".join([f"{step.what} could not be installed:", *reasons, f"All of pip's words: {log}"]))


def _pip(words: tuple[str, ...], env: Path, log: Path, clock: Clock) -> str | None:
    """Call pip, telling every few seconds how far it is; None when it succeeded, else what it said."""
    more = () if words[0] == "uninstall" else ("--progress-bar", "off")
    command = [str(fresh_env.python_of(env)), "-m", "pip", words[0], *more, *words[1:]]
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
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    said: list[str] = []
    last = ""
    told = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        while True:
            try:
                line = lines.get(timeout=1.0)
            except queue.Empty:
                pass  # pip is busy; only the clock moves on.
            else:
                if line is None:
                    break
                said.append(line.rstrip())
                file.write(line)
            if said and time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                clock.say(f"  {said[-1].strip()[:100]}" if said[-1] != last else "  … still at it")
                last = said[-1]
    return None if process.wait() == 0 else "\n".join(said)


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    if process.stdout is not None:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


if __name__ == "__main__":
    sys.exit(main())
