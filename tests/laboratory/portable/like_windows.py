"""A stand-in for Windows, which cannot be had here: it keeps from this package what Python lacks or refuses there.

    python -m tests.laboratory.portable.like_windows 'analyse understudy --corpus text.txt' 'merge ADAPTER --out FOLDER'

Runs commands of `python -m wmkml` one after another in one process.  The standard library and other packages keep what
they have, since theirs for Windows differ.  Exit status: the first that is not 0.
Sources: Python's documentation of `os` and `signal` (Availability), Microsoft's of CreateFile and FlushFileBuffers.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import pathlib
import shlex
import shutil
import signal
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog")
"""Modules of the standard library that Windows does not have."""

OS_LACKS = (
    *("fork", "forkpty", "getuid", "geteuid", "getgid", "getpgid", "setpgid"),
    *("killpg", "setsid", "nice", "getpriority", "setpriority", "sched_getaffinity", "sched_setaffinity"),
    *("statvfs", "fstatvfs", "sysconf", "getloadavg", "uname", "mkfifo", "chown"),
    *("lchown", "posix_fadvise", "sync", "sendfile", "pread", "pwrite", "wait"),
    *("WNOHANG", "openpty"),
)
SIGNALS_LACKED = ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGALRM", "SIGSTOP", "SIGCONT")


class PartialModule(types.ModuleType):
    """A module of which some names are missing, and some are others."""

    def __init__(self, module: types.ModuleType, lacks: tuple[str, ...], instead: Mapping[str, Any]) -> None:
        super().__init__(module.__name__)
        self.__dict__.update({name: value for name, value in vars(module).items() if name not in lacks} | dict(instead))


def open_as_windows(path: Any, flags: int, *more: Any, **others: Any) -> int:
    """`os.open`; a folder cannot be opened."""
    if Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return os.open(path, flags, *more, **others)


def fsync_as_windows(handle: int) -> None:
    """`os.fsync`; only what is open for writing can be written through."""
    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    os.fsync(handle)


def refuse_open_files(path: Any) -> None:
    """Raises PermissionError where this process has the file, or one in the folder, open or mapped."""
    whole = os.path.realpath(path)
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]  # noqa: PTH208  (pathlib is what is patched)
    held = [os.readlink(link) for link in links if os.path.lexists(link)]  # noqa: PTH115
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
        held += [line.split(maxsplit=5)[5].rstrip("\n") for line in maps if line.count(" ") > 5 and "/" in line]
    for name in held:
        if name == whole or name.startswith(f"{whole}/"):
            raise PermissionError(errno.EACCES, "The process cannot access the file: it is in use", name)


def refusing(function: Callable[..., Any], *, existing: bool = False) -> Callable[..., Any]:
    """A function that moves or removes, as Windows has it: not what is open, nor (`existing`) onto what is there."""

    def refuse_or_do(path: Any, *more: Any, **others: Any) -> Any:
        refuse_open_files(path)
        if more and isinstance(more[0], str | os.PathLike):
            refuse_open_files(more[0])
            if existing and os.path.lexists(more[0]):
                raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", str(more[0]))
        return function(path, *more, **others)

    return refuse_or_do


def become_like_windows() -> None:
    """From here on modules of this package find what Windows has."""
    real_import = builtins.__import__
    instead = {
        "os": PartialModule(os, OS_LACKS, {"name": "nt", "open": open_as_windows, "fsync": fsync_as_windows}),
        "signal": PartialModule(signal, SIGNALS_LACKED, {}),
    }

    def import_as_windows(name: str, globals_: Any = None, *more: Any, **others: Any) -> Any:
        importer = str((globals_ or {}).get("__name__", ""))
        if importer.partition(".")[0] == "wmkml":
            if name.partition(".")[0] in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in instead:
                real_import(name, globals_, *more, **others)
                return instead[name]
        return real_import(name, globals_, *more, **others)

    builtins.__import__ = import_as_windows  # type: ignore[assignment]
    for name, existing in (("rename", True), ("replace", False), ("unlink", False), ("rmdir", False)):
        setattr(pathlib.Path, name, refusing(getattr(pathlib.Path, name), existing=existing))
    # What is thrown away is not complained of there either where errors are ignored.
    shutil.rmtree = _rmtree_as_windows(shutil.rmtree)
    # Without an encoding it is the system's: cp1252 there.  Needs PYTHONWARNDEFAULTENCODING.
    warnings.filterwarnings("error", category=EncodingWarning, module=r"wmkml")


def _rmtree_as_windows(function: Any) -> Any:
    def refuse_or_remove(path: Any, ignore_errors: bool = False, **others: Any) -> None:
        try:
            refuse_open_files(path)
        except PermissionError:
            if not ignore_errors:
                raise
            return
        function(path, ignore_errors=ignore_errors, **others)

    return refuse_or_remove


def main(command_lines: list[str]) -> int:
    become_like_windows()
    from wmkml.__main__ import main as run_command

    for line in command_lines:
        print(f"> {line}", file=sys.stderr, flush=True)
        try:
            status = run_command(shlex.split(line))
        except SystemExit as end:  # `--help`
            status = int(end.code or 0)
        if status:
            print(f"{line}: {status}", file=sys.stderr)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
