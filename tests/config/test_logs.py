"""Log lines as text and as JSON."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from wmkml.config.logs import JsonFormatter


def test_a_record_is_one_line_of_json() -> None:
    record = logging.LogRecord("wmkml.owner", logging.WARNING, "x.py", 1, 'Round %d:\n"ä"', (3,), None)
    record.created, record.msecs = 1796032800.25, 250.0
    text = JsonFormatter("owner").format(record)
    assert "\n" not in text
    assert json.loads(text) == {
        "at": "2026-11-30T10:00:00.250Z",
        "level": "WARNING",
        "service": "owner",
        "logger": "wmkml.owner",
        "message": 'Round 3:\n"ä"',
    }


def test_an_error_carries_its_traceback() -> None:
    try:
        raise ValueError("three")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())
    assert json.loads(JsonFormatter("worker").format(record))["error"].endswith("ValueError: three")


PROGRAM = """
import logging
from wmkml.config import General
from wmkml.config.logs import configure_logging
configure_logging(General(log_format={form!r}, logging="INFO"), "owner")
logging.getLogger("a").debug("not shown")
logging.getLogger("a").info("shown")
"""


@pytest.mark.process
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_service_logs_in_the_form_of_the_settings(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True, check=True)
    [line] = done.stderr.splitlines()
    if form == "json":
        assert json.loads(line)["message"] == "shown"
    else:
        assert line.endswith(" INFO a: shown")
