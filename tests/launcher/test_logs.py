"""The logs of a cluster stay small, whatever its programs write, and hold the newest lines.

Real programs under real supervision, with small limits, which go the way of an installation's: `Cluster` writes them
into supervisord's configuration.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import until
from wmkml.launcher.services import Service
from wmkml.launcher.supervision.cluster import Cluster
from wmkml.launcher.supervision.configuration import LogLimit, Program

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent

READ_BYTES = 2 << 16
"""The most that supervisord reads of a program at once (its options.py), and writes before it looks at the log's size."""

LINES = 60_000

TALKATIVE = f"""
import sys, time

for number in range({LINES}):
    stream = sys.stdout if number % 2 else sys.stderr
    print(f"{{number:06}} of a program that says too much", file=stream, flush=True)
time.sleep(600)
"""
"""Writes two megabytes of numbered lines to both of its streams, and lives on."""


@contextmanager
def supervised(folder: Path, program: str, limit: LogLimit) -> Iterator[Path]:
    """A cluster of one Python program, `talker`; gives the folder of its logs."""
    (folder / "talker.py").write_text(program)
    talker = Service(Program("talker", (sys.executable, str(folder / "talker.py"))), lambda: None)
    cluster = Cluster(folder / "data", folder / "logs", ROOT, [talker], threading.Event(), print, limit)
    try:
        assert cluster.start()
        yield cluster.files.logs
    finally:
        cluster.end()


def text_of(path: Path) -> str:
    """What a file holds; nothing while it is being renamed."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def log_files(logs: Path, name: str) -> list[Path]:
    """What is kept of a log, the oldest lines first: NAME.2, NAME.1, NAME."""
    return sorted(logs.glob(f"{name}*"), key=lambda path: path.name, reverse=True)


def test_a_talkative_programs_log_stays_within_its_limit_and_has_the_newest_lines(tmp_path: Path) -> None:
    limit = LogLimit(file_bytes=150_000, rotated_files=3)
    with supervised(tmp_path, TALKATIVE, limit) as logs:
        last_line = f"{LINES - 1:06} "
        until(lambda: last_line in text_of(logs / "talker.log.1") + text_of(logs / "talker.log"), "the last line")
        files = log_files(logs, "talker.log")
        assert [path.name for path in files] == ["talker.log.3", "talker.log.2", "talker.log.1", "talker.log"]
        sizes = [path.stat().st_size for path in files]
        assert max(sizes) < limit.file_bytes + READ_BYTES
        assert min(sizes[:-1]) >= limit.file_bytes, "a file is rotated when it is full, not before"
        assert {path.stat().st_mode & 0o077 for path in files} == {0}, "rotated files are for their owner alone, too"
        numbers = [int(line[:6]) for line in "".join(path.read_text() for path in files).splitlines() if line[6:7]]
        assert numbers[-1] == LINES - 1
        # The oldest file may begin in mid-line.
        assert numbers[1:] == list(range(numbers[1], LINES))


def test_supervisords_own_log_stays_within_its_limit_and_has_the_newest_lines(tmp_path: Path) -> None:
    limit = LogLimit(file_bytes=150, rotated_files=2)
    # A start is some lines there, and this program never stays.
    with supervised(tmp_path, "raise SystemExit(1)", limit) as logs:
        oldest = logs / "supervisord.log.2"
        before = until(lambda: text_of(oldest), "two rotated files")
        until(lambda: text_of(oldest) not in ("", before), "a third one")
    files = log_files(logs, "supervisord.log")
    assert [path.name for path in files] == ["supervisord.log.2", "supervisord.log.1", "supervisord.log"]
    texts = [path.read_text() for path in files]
    longest_line = max(len(line) for text in texts for line in text.splitlines(keepends=True))
    assert max(len(text) for text in texts) < limit.file_bytes + longest_line
    assert "received SIGTERM" in "".join(texts), "the end of the cluster is the newest"


def test_the_launchers_own_log_is_rotated_too_while_it_writes(tmp_path: Path) -> None:
    idle = Service(Program("idle", (sys.executable, "-c", "import time; time.sleep(600)")), lambda: None)
    limit = LogLimit(file_bytes=1000, rotated_files=2)
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "launcher.log"
    cluster = Cluster(tmp_path / "data", tmp_path / "logs", ROOT, [idle], threading.Event(), print, limit)
    with log.open("ab") as output:  # as `master_script.sh start` opens it
        output.write(b"a" * 900)
        output.flush()
        try:
            assert cluster.start()
            cluster.restart_failed()
            assert log.stat().st_size == 900
            output.write(b"b" * 900)
            output.flush()
            cluster.restart_failed()
            output.write(b"c")
        finally:
            cluster.end()
    aside = log.with_name("launcher.log.1")
    assert (aside.read_bytes(), log.read_bytes()) == (b"a" * 900 + b"b" * 900, b"c")
    assert aside.stat().st_mode & 0o077 == 0
