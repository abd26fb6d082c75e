"""A process that is forked from the warm one is like one that was started anew, but for what is imported already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _process_guard as process_guard
from tests.project.processes import heed_ctrl_c
from tests.warm_processes import OWNER, WarmPopen

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
    return subprocess.Popen([sys.executable, *command], stdout=output, stderr=output, preexec_fn=heed_ctrl_c, **more)


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


def test_a_test_that_may_start_none_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm(["-m", "wmkml", "--help"], None).wait(60)
    monkeypatch.setattr(process_guard, "refusing", True)
    with pytest.raises(RuntimeError, match="without the mark `process`"):
        warm(["-m", "wmkml", "--help"], None)
