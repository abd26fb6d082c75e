"""A process that is forked from the warm one is like one that was started anew, but for what is imported already."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _process_guard as process_guard
from tests.warm_processes import OWNER, WarmPopen, warm_children

pytestmark = pytest.mark.process

PRINTING = """
import json, os, signal, sys
print(json.dumps({
    "name": __name__, "file": __file__, "arguments": sys.argv, "folder": os.getcwd(), "path": sys.path[0],
    "environment": dict(os.environ), "leads a session": os.getsid(0) == os.getpid(), "pid": os.getpid(),
    "interrupt": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
    "files": sorted(os.listdir("/proc/self/fd")),
}))
print("an error", file=sys.stderr)
"""


Start = Callable[..., subprocess.Popen[bytes] | WarmPopen]


def anew(command: list[str], output: Any, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *command], stdout=output, stderr=output, **more)


def warm(command: list[str], output: Any, **more: Any) -> WarmPopen:
    return WarmPopen(command, OWNER, output=output, **more)


@pytest.mark.parametrize("session", [False, True])
def test_it_has_arguments_folder_environment_session_and_output_of_its_own(tmp_path: Path, session: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(PRINTING)
    seen = []
    starts: list[Start] = [anew, warm]
    for number, start in enumerate(starts):
        output = tmp_path / f"{number}.txt"
        environment = dict(os.environ) | {"ONLY_HERE": "yes"}
        with output.open("wb") as file:
            process = start([str(script), "--a", "b c"], file, cwd=tmp_path, env=environment, start_new_session=session)
        assert process.wait(60) == 0
        printed, error = output.read_text().splitlines()
        assert error == "an error"
        seen.append(json.loads(printed))
        assert seen[-1].pop("pid") == process.pid
    started_anew, forked = seen
    assert started_anew["arguments"] == [str(script), "--a", "b c"] and started_anew["leads a session"] == session
    assert forked == started_anew


@pytest.mark.parametrize(
    ("program", "last_line"),
    [
        ("pass", ""),
        ("raise SystemExit(3)", ""),
        ("raise SystemExit('That cannot be.')", "That cannot be."),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", ""),
        ("import atexit; atexit.register(print, 'the last')", "the last"),
        ("import threading, time; threading.Timer(0.2, lambda: print('late')).start()", "late"),
    ],
)
def test_it_ends_as_the_interpreter_does(tmp_path: Path, program: str, last_line: str) -> None:
    (tmp_path / "script.py").write_text(program)
    ends = []
    starts: list[Start] = [anew, warm]
    for start in starts:
        with (tmp_path / "output.txt").open("wb") as file:
            process = start([str(tmp_path / "script.py")], file)
            ends.append((process.wait(60), process.poll(), process.returncode))
        assert ((tmp_path / "output.txt").read_text().splitlines() or [""])[-1] == last_line
    assert ends[0] == ends[1]


def test_it_is_waited_for_signalled_and_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import time; time.sleep(600)")
    processes = [WarmPopen([str(tmp_path / "script.py")], OWNER) for _ in range(3)]
    with pytest.raises(subprocess.TimeoutExpired):
        processes[0].wait(0.1)
    assert [process.poll() for process in processes] == [None] * 3
    processes[1].terminate()
    assert processes[1].wait(60) == -signal.SIGTERM
    processes[0].kill()
    assert processes[0].wait(60) == -signal.SIGKILL
    assert processes[2].poll() is None
    processes[2].send_signal(signal.SIGKILL)
    assert processes[2].wait(60) == -signal.SIGKILL
    processes[2].kill()  # which has ended


def test_a_module_is_run_and_the_owners_has_no_torch(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import sys; sys.exit(40 + 2 * ('torch' in sys.modules) + ('fastapi' in sys.modules))"
    )
    assert warm([str(tmp_path / "script.py")], None).wait(60) == 41
    with (tmp_path / "output.txt").open("wb") as file:
        assert warm(["-m", "wmkml", "--help"], file).wait(60) == 0
    assert "usage: " in (tmp_path / "output.txt").read_text()


def tell_of_itself(connection: Connection) -> None:
    """What a spawned process is; then what it is told to be."""
    connection.send(
        {
            "name": multiprocessing.current_process().name,
            "parent": os.getppid(),
            "arguments": sys.argv,
            "folder": os.getcwd(),  # noqa: PTH109 - as it is
            "here": os.environ.get("ONLY_HERE"),
            "leads a session": os.getsid(0) == os.getpid(),
            "imported": "fastapi" in sys.modules,
        }
    )
    if (end := connection.recv()) == "wait":
        time.sleep(600)
    raise SystemExit(end)


@pytest.mark.parametrize(("forked", "context"), [(False, nullcontext()), (True, warm_children(OWNER))])
def test_a_spawned_process_is_a_child_of_this_one_whatever_it_is_forked_from(
    forked: bool, context: AbstractContextManager[None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONLY_HERE", "yes")
    spawning = multiprocessing.get_context("spawn")
    pipes = [spawning.Pipe() for _ in range(2)]
    with context:
        processes = [spawning.Process(target=tell_of_itself, args=[there], name="told") for _, there in pipes]
        for process, (_, there) in zip(processes, pipes, strict=True):
            process.start()
            there.close()
        for here, _ in pipes:
            assert here.recv() == {
                "name": "told",
                "parent": os.getpid(),
                "arguments": sys.argv,
                "folder": str(tmp_path),
                "here": "yes",
                "leads a session": False,
                "imported": forked,
            }
            assert not here.poll(0)
    first, second = processes
    pipes[0][0].send(3)
    first.join(60)
    assert (first.exitcode, second.exitcode) == (3, None)
    pipes[1][0].send("wait")
    assert not pipes[1][0].poll(0.2)
    second.kill()
    second.join(60)
    assert second.exitcode == -signal.SIGKILL
    with pytest.raises(EOFError):  # nobody else holds its end
        pipes[1][0].recv()


def test_a_test_that_may_start_none_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(["-m", "wmkml", "--help"], None).wait(60)
    monkeypatch.setattr(process_guard, "refusing", True)
    with pytest.raises(RuntimeError, match="without the mark `process`"):
        warm(["-m", "wmkml", "--help"], None)
