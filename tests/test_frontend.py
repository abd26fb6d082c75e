"""The pages' sources: their types say what the owner says, and their own checks and tests pass."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from pydantic import BaseModel

from tests.owner_house import ROOT
from wmkml import wire
from wmkml.owner import desk_wire, telling

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


def model(name: str) -> type[BaseModel] | None:
    found = getattr(wire, name, None) or getattr(telling, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


@pytest.mark.parametrize("name", [name for name in INTERFACES if name != "Events"])
def test_a_type_has_the_fields_of_its_message(name: str) -> None:
    message = model(name)
    assert message is not None, f"wire.ts has a type {name}, and neither wire.py nor telling.py has such a message"
    assert INTERFACES[name] == list(message.model_fields)


@pytest.mark.parametrize("name", DESK)
def test_a_type_of_the_desk_has_the_fields_of_its_message(name: str) -> None:
    message = getattr(desk_wire, name, None) or getattr(desk_wire, f"Desk{name}", None) or getattr(wire, name, None)
    assert message is not None, f"desk_wire.ts has a type {name}, and desk_wire.py has no such message"
    assert DESK[name] == list(message.model_fields)


def test_every_message_that_a_visitors_page_hears_has_a_type() -> None:
    heard = {"RunState", "ChatStart", "ChatToken", "ChatEnd", "StationWords", "CardBegins", "CardAnswer", "CardEnd"}
    assert heard <= set(INTERFACES)
    told = {name for name, one in vars(telling).items() if isinstance(one, type) and one.__module__ == telling.__name__}
    assert told <= set(INTERFACES)


@pytest.mark.parametrize("words", [("run", "check"), ("test",)], ids=["check", "test"])
def test_the_pages_own_checks_pass(words: tuple[str, ...]) -> None:
    npm = shutil.which("npm") or str(ROOT / "env" / "bin" / "npm")
    done = subprocess.run([npm, *words], cwd=FRONTEND, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
