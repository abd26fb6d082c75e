"""The pages' sources: their types say what the owner says, and their own tests pass; their own checks are for `scripts/check`."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from pydantic import BaseModel

from tests.owner.owner_cluster import ROOT
from wmkml.protocol import autopsy, base, conversation, desk, doctor, events, inference, original, run_state, training

FRONTEND = ROOT / "frontend"


def interfaces(path: str) -> dict[str, list[str]]:
    """The interfaces of a file of types, and the names of their fields."""
    types = (FRONTEND / "src" / path).read_text(encoding="utf-8")
    return {
        name: re.findall(r"^  (\w+)\??:", body, re.MULTILINE)
        for name, body in re.findall(r"^export interface (\w+) \{\n(.*?)^\}", types, re.MULTILINE | re.DOTALL)
    }


INTERFACES = interfaces("lib/wire.ts")
DESK = interfaces("desk/desk_wire.ts")


PROTOCOL = (autopsy, base, conversation, doctor, events, inference, original, run_state, training)
"""Every module with messages that a visitor's page or the stage may read; the desk's own are in `desk`."""


def model(name: str) -> type[BaseModel] | None:
    """The message of this name in any module of `PROTOCOL`, or None."""
    message = next((vars(module)[name] for module in PROTOCOL if name in vars(module)), None)
    return message if isinstance(message, type) and issubclass(message, BaseModel) else None


@pytest.mark.parametrize("name", [name for name in INTERFACES if name != "Events"])
def test_a_type_has_the_fields_of_its_message(name: str) -> None:
    message = model(name)
    assert message is not None, f"wire.ts has a type {name}, and no file of wmkml/protocol has such a message"
    assert INTERFACES[name] == list(message.model_fields)


@pytest.mark.parametrize("name", DESK)
def test_a_type_of_the_desk_has_the_fields_of_its_message(name: str) -> None:
    message = getattr(desk, name, None) or getattr(desk, f"Desk{name}", None) or model(name)
    assert message is not None, f"desk_wire.ts has a type {name}, and desk.py has no such message"
    assert DESK[name] == list(message.model_fields)


def test_every_message_that_a_visitors_page_hears_has_a_type() -> None:
    page_messages = {
        "RunState",
        "ChatQueued",
        "ChatStart",
        "ChatToken",
        "ChatEnd",
        "StationWords",
        "CardBegins",
        "CardAnswer",
        "CardEnd",
    }
    assert page_messages <= set(INTERFACES)
    event_messages = {
        name for name, item in vars(events).items() if isinstance(item, type) and item.__module__ == events.__name__
    }
    assert event_messages <= set(INTERFACES)


@pytest.mark.process
def test_the_pages_own_tests_pass() -> None:
    npm = shutil.which("npm") or str(ROOT / "env" / "bin" / "npm")
    done = subprocess.run([npm, "test"], cwd=FRONTEND, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
