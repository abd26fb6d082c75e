"""`./master_script.sh update` and `rollback`: another version of the program, with the operator's files and data as they were.

Standard library only, all of it imported before anything changes: the program that is replaced is this one.  The operator's own files
are those of `OPERATORS`, wherever they differ from the version's; data, models and keys are not in the repository, and stay.  The
environment of before is kept as `env.before`, in hard links, so that a rollback needs no network.  Whatever goes wrong on the way puts
back the version that was there, and starts it again if it ran.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from wmkml.install.running import UPDATING, Running, find_running, systemctl

PROJECT = Path(__file__).resolve().parent.parent.parent

OPERATORS = ("config.yaml", "config.understudy.yaml", "stage/", "Datasets/", "words/")
"""Files and folders of the repository that an operator edits: kept byte for byte over an update."""

RECORD = "updates.jsonl"
"""In the data folder: a line for each update, the newest last."""


class CannotUpdateError(RuntimeError):
    """Nothing is changed, or everything is as it was before.  The text says why, and what to do."""


@dataclass(frozen=True)
class Change:
    """From which commit to which, and when, in seconds since 1970."""

    before: str
    after: str
    at: float


@dataclass(frozen=True)
class OwnFiles:
    """What an operator has made of the files of `OPERATORS`: contents by path, and the paths of shipped files that were deleted."""

    kept: dict[str, bytes]
    deleted: list[str]


class Checkout:
    """A checkout of the program, and its data folder."""

    def __init__(self, project: Path, data: Path) -> None:
        self._project, self._data = project, data

    def update(self, target: str | None) -> str:
        """Go to another version.

        Args:
            target: a tag, a branch or a commit; None: the newest of the branch that the checkout came from.

        Returns:
            A sentence for the operator.

        Raises:
            CannotUpdateError: it could not be done.
        """
        before = self._git("rev-parse", "HEAD")
        self._git("fetch", "--quiet", "--tags", "origin")
        after = self._commit(target)
        if after == before:
            return f"This is the version that was asked for already ({before[:12]}). Nothing was changed."
        self._go(before, after)
        self._note(Change(before, after, time.time()))
        return f"Updated from {before[:12]} to {after[:12]}. Back again: ./master_script.sh rollback"

    def rollback(self) -> str:
        """Go back to the version before the last update; as `update`."""
        changes = self._changes()
        if not changes:
            raise CannotUpdateError("Nothing was updated here, so there is nothing to roll back.")
        before = self._git("rev-parse", "HEAD")
        last = changes[-1]
        if last.after != before:
            raise CannotUpdateError(
                f"This is {before[:12]}, and the last update went to {last.after[:12]}: somebody has changed the version by hand. "
                f"Change it by hand again: git checkout {last.before[:12]}"
            )
        self._go(before, last.before)
        self._write_changes(changes[:-1])
        return f"Rolled back from {before[:12]} to {last.before[:12]}."

    # --- the steps -------------------------------------------------------------------------------------------------

    def _go(self, before: str, after: str) -> None:
        own = self._own_files(before, after)
        running = find_running(self._project)
        with self._updating(running):
            self._stop(running)
            try:
                self._prepare_environment(before, after)
                self._checkout(after, own)
                self._script("install")
                self._script("--plan", running)
            # Also a Ctrl-C: what is half one version and half another does not stay.
            except (CannotUpdateError, OSError, subprocess.SubprocessError, KeyboardInterrupt) as error:
                self._put_back(before, after, own, running, str(error) or type(error).__name__)
            self._start(running)

    def _put_back(self, before: str, after: str, own: OwnFiles, running: Running | None, reason: str) -> NoReturn:
        """Bring back the version and the environment of before, start them, and say why."""
        try:
            self._checkout(before, own)
            between, env = self._project / "env.before.new", self._project / "env"
            if not env.exists() and between.exists():
                between.rename(env)  # it broke off between two names
            elif self._version_aside() == before:
                self._exchange_environments(after)
            back = "The version of before is back."
        except (CannotUpdateError, OSError) as trouble:
            back = f"The version of before could not be put back whole ({trouble}). By hand: git checkout --force {before[:12]}"
        try:
            self._start(running)
        except CannotUpdateError as trouble:
            back += f" It could not be started: {trouble}"
        raise CannotUpdateError(f"{reason}\n{back}") from None

    @contextlib.contextmanager
    def _updating(self, running: Running | None) -> Iterator[None]:
        """Have `scripts/keep-running` wait meanwhile; at the end it starts the installation again.

        It removes the file itself: on a busy machine it may see only after the end that the installation was stopped.
        """
        if running is None or running.keeper != "keep-running":
            yield
            return
        marker = self._project / UPDATING
        marker.write_text(f"{os.getpid()}\n", encoding="utf-8")
        try:
            yield
        finally:
            done = marker.with_suffix(".done")
            done.write_text("done\n", encoding="utf-8")
            done.replace(marker)  # in one step, for whoever reads it meanwhile

    def _stop(self, running: Running | None) -> None:
        if running is not None and running.keeper.startswith("systemd"):
            if problem := systemctl(running, "stop"):
                raise CannotUpdateError(f"The installation could not be stopped: {problem}. Nothing was changed.")
        elif running is not None:
            self._script("stop", running)

    def _start(self, running: Running | None) -> None:
        if running is None or running.keeper == "keep-running":
            return
        if running.keeper:
            if problem := systemctl(running, "start"):
                raise CannotUpdateError(problem)
        else:
            self._script("start", running)

    def _checkout(self, commit: str, own: OwnFiles) -> None:
        """Bring the files of a commit, and put the operator's on top."""
        self._git("checkout", "--quiet", "--force", "--detach", commit)
        for path, content in own.kept.items():
            (self._project / path).parent.mkdir(parents=True, exist_ok=True)
            (self._project / path).write_bytes(content)
        for path in own.deleted:
            (self._project / path).unlink(missing_ok=True)

    def _prepare_environment(self, before: str, after: str) -> None:
        if self._version_aside() == after:
            self._exchange_environments(before)
        else:
            self._put_environment_aside(before)

    def _put_environment_aside(self, version: str) -> None:
        """Keep the environment of a version as `env.before`, in hard links."""
        env, aside = self._project / "env", self._project / "env.before"
        shutil.rmtree(aside, ignore_errors=True)
        self._aside_file.unlink(missing_ok=True)
        if env.is_dir():
            subprocess.run(["cp", "-al", str(env), str(aside)], check=True)
            for file in env.iterdir():  # the installer's own: pip replaces files, the installer writes into them
                if file.is_file():
                    (aside / file.name).unlink()
                    shutil.copy2(file, aside / file.name)
            self._aside_file.write_text(version, encoding="utf-8")

    def _exchange_environments(self, version: str) -> None:
        """Use the environment that lies aside, and put the one in use, which is of `version`, in its place."""
        env, aside = self._project / "env", self._project / "env.before"
        between = self._project / "env.before.new"
        shutil.rmtree(between, ignore_errors=True)
        env.rename(between)
        aside.rename(env)
        between.rename(aside)
        self._aside_file.write_text(version, encoding="utf-8")

    @property
    def _aside_file(self) -> Path:
        """Says of which version `env.before` is."""
        return self._project / "env.before.version"

    def _version_aside(self) -> str | None:
        if not self._aside_file.is_file() or not (self._project / "env.before").is_dir():
            return None
        return self._aside_file.read_text(encoding="utf-8")

    # --- what is there ---------------------------------------------------------------------------------------------

    def _commit(self, target: str | None) -> str:
        names = [target, f"origin/{target}"] if target else ["@{upstream}", "origin/HEAD", "origin/main"]
        for name in names:
            done = self._run(["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"])
            if done.returncode == 0:
                return done.stdout.strip()
        raise CannotUpdateError(f"There is no version {target or 'to update to'} at the repository this came from.")

    def _own_files(self, before: str, after: str) -> OwnFiles:
        """What the operator has changed, deleted, or added where the other version brings a file too.

        Raises:
            CannotUpdateError: a file of the program itself would be lost.
        """
        changed = self._paths("diff", "--name-only", "HEAD")
        brought = set(self._paths("ls-tree", "-r", "--name-only", after))
        brought -= set(self._paths("ls-tree", "-r", "--name-only", before))
        added = [path for path in sorted(brought) if (self._project / path).is_file()]
        others = [path for path in (*changed, *added) if not _is_operators(path)]
        if others:
            raise CannotUpdateError(
                f"These files of the program were changed here, and an update would lose that: {', '.join(others[:8])}. "
                "Put them back (git checkout FILE), move them away, or keep a branch of your own."
            )
        present = [path for path in (*changed, *added) if (self._project / path).is_file()]
        return OwnFiles(
            kept={path: (self._project / path).read_bytes() for path in present},
            deleted=[path for path in changed if path not in present],
        )

    def _paths(self, *words: str) -> list[str]:
        output = self._run(["git", *words[:1], "-z", *words[1:]]).stdout
        return [path for path in output.split("\0") if path]

    def _changes(self) -> list[Change]:
        try:
            lines = (self._data / RECORD).read_text(encoding="utf-8").splitlines()
            return [Change(**json.loads(line)) for line in lines]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            raise CannotUpdateError(
                f"{self._data / RECORD} is damaged: delete it, and change the version by git."
            ) from None

    def _note(self, change: Change) -> None:
        self._write_changes([*self._changes(), change])

    def _write_changes(self, changes: Sequence[Change]) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        temporary = self._data / f"{RECORD}.new"
        temporary.write_text("".join(json.dumps(asdict(change)) + "\n" for change in changes), encoding="utf-8")
        temporary.replace(self._data / RECORD)

    # --- programs --------------------------------------------------------------------------------------------------

    def _git(self, *words: str) -> str:
        done = self._run(["git", *words])
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise CannotUpdateError(f"git {words[0]} failed: {reason[0]}")
        return done.stdout.strip()

    def _script(self, what: str, running: Running | None = None) -> None:
        """Have the version that is checked out do something; its output is the operator's.

        Args:
            running: what runs, or ran: its arguments name its settings and with them its data folder.
        """
        print(f"./master_script.sh {what}", flush=True)
        words = [what, *running.arguments] if running is not None else [what]
        folder = running.folder if running is not None else self._project
        done = subprocess.run([str(self._project / "master_script.sh"), *words], cwd=folder, check=False)
        if done.returncode != 0:
            raise CannotUpdateError(f"./master_script.sh {what} ended with status {done.returncode}.")

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(command, cwd=self._project, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise CannotUpdateError("git is missing. On Debian: sudo apt-get install git.") from None


def _is_operators(path: str) -> bool:
    return any(path == own or (own.endswith("/") and path.startswith(own)) for own in OPERATORS)


def main() -> int:
    """Update or roll back; returns the exit status."""
    parser = argparse.ArgumentParser(prog="./master_script.sh", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("what", choices=("update", "rollback"))
    parser.add_argument("version", nargs="?", help="update: a tag, a branch or a commit; default: the newest")
    parser.add_argument("--data", type=Path, default=PROJECT / "data", metavar="FOLDER", help="default: data")
    arguments = parser.parse_args()
    checkout = Checkout(PROJECT, arguments.data)
    try:
        if arguments.what == "rollback" and arguments.version is not None:
            parser.error("rollback takes no version: it goes back by one update")
        print(checkout.update(arguments.version) if arguments.what == "update" else checkout.rollback())
    except CannotUpdateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
