"""CONTRIBUTING.md and docs/architecture.md are true: what they name exists, and the tables and the diagram are the code's."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.project.readme import FENCE
from tests.project.syntax import nodes, python_files
from tests.project.test_rooms import FLOORS, leads_somewhere
from wmkml.__main__ import command_summaries
from wmkml.config import sections
from wmkml.config.paths import PROJECT
from wmkml.policy.round_states import RETRY, TRANSITIONS
from wmkml.protocol.osc import TABLE

PAGES = [PROJECT / "CONTRIBUTING.md", PROJECT / "docs" / "architecture.md"]
ARCHITECTURE = PAGES[1].read_text(encoding="utf-8")

MADE_HERE = ("data/", "env/", "models/", "frontend/dist/", "frontend/node_modules/")
"""Folders that are not in the repository; the names of files in `data/` are looked for in the code instead."""

ENDINGS = "py|sh|md|yaml|toml|ts|json|jsonl|sqlite|lock|txt|pd|csv|svelte"

OF_OTHERS = {
    *("manager", "helpers", "utils", "round_", "Error", "added"),
    *("oscdump", "print", "route", "--help"),
    *("vllm", "long", "process", "slow"),
}
"""Words in backticks that are no name in our Python code: how things are named, words of other programs, pytest's marks."""


# --- what there is ---------------------------------------------------------------------------------------------------


@functools.cache
def parts_of_files() -> dict[Path, list[ast.AST]]:
    """Every part of every Python file of the package and the tests."""
    return {path: nodes(path) for path in python_files("wmkml", "tests")}


@functools.cache
def members() -> dict[str, set[str]]:
    """Of every class of the package: its methods, fields and attributes of `self`, and those of the classes it is made of."""
    classes: dict[str, set[str]] = {}
    bases: dict[str, set[str]] = {}
    for path, parts in parts_of_files().items():
        for node in parts:
            if isinstance(node, ast.ClassDef) and path.is_relative_to(PROJECT / "wmkml"):
                classes.setdefault(node.name, set()).update(bound(ast.walk(node)))
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    return {name: own.union(*(classes.get(base, set()) for base in bases[name])) for name, own in classes.items()}


def bound(parts: Iterable[ast.AST]) -> Iterator[str]:
    """Every name that is given to something in these parts of a file."""
    for node in parts:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name


@functools.cache
def functions() -> set[str]:
    """The names of all functions, methods and classes of the package, and of all tests."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for parts in parts_of_files().values() for node in parts if isinstance(node, kinds)}


@functools.cache
def names() -> set[str]:
    """Every name that is given to something in the package or the tests."""
    return {name for parts in parts_of_files().values() for name in bound(parts)}


@functools.cache
def texts() -> set[str]:
    """Every string in the package that is one word, such as the name of an event or of a file."""
    constants = (
        node.value
        for path, parts in parts_of_files().items()
        if path.is_relative_to(PROJECT / "wmkml")
        for node in parts
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in constants if text and not re.search(r"\s", text)}


@functools.cache
def names_elsewhere() -> set[str]:
    """The types of the pages' messages, and the environment variables of `master_script.sh`."""
    types = (PROJECT / "frontend" / "src" / "lib" / "wire.ts").read_text(encoding="utf-8")
    script = (PROJECT / "master_script.sh").read_text(encoding="utf-8")
    return {*re.findall(r"^export (?:interface|type) (\w+)", types, re.MULTILINE), *re.findall(r"WMKML_[A-Z]+", script)}


@functools.cache
def routes() -> set[str]:
    """Every route of owner and inference, as `POST /chat`: from the decorators `@app.post("/chat")` and their like."""
    known: set[str] = set()
    for parts in parts_of_files().values():
        constants: dict[str, str] = {}
        prefixes: dict[str, str] = {}
        for node in parts:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                    constants[name] = text
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="APIRouter")))
                    | ast.Assign(
                        targets=[ast.Tuple(elts=[ast.Name(id=name), *_])], value=ast.Call(func=ast.Name(id="APIRouter"))
                    )
                ):
                    assert isinstance(node.value, ast.Call)
                    keywords = {keyword.arg: keyword.value for keyword in node.value.keywords}
                    prefixes[name] = ast.literal_eval(keywords["prefix"]) if "prefix" in keywords else ""
        for node in parts:
            if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                match decorator:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id=router), attr="get" | "post" | "put" as method),
                        args=[path, *_],
                    ):
                        known.add(f"{method.upper()} {prefixes.get(router, '')}{joined(path, constants)}")
    return known


def joined(path: ast.expr, constants: dict[str, str]) -> str:
    """The text of a string or of an f-string whose parts are constants of its module."""
    match path:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(joined(part, constants) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return constants[name]
    raise AssertionError(f"a route of a kind that this test does not read: {ast.unparse(path)}")


# --- what is named ---------------------------------------------------------------------------------------------------


def mentions(text: str) -> Iterator[str]:
    """What stands in backticks, the lines of commands, and in diagrams whatever has the form of code."""
    prose = FENCE.sub("", text)
    yield from re.findall(r"`([^`\n]+)`", prose)
    for match in FENCE.finditer(text):
        if match["language"] == "bash":
            yield from (line.partition("  #")[0].strip() for line in match["text"].splitlines() if line)
        elif match["language"] == "mermaid" and match["text"].startswith("sequenceDiagram"):
            yield from re.findall(r"\w+\.\w+|\w+\(\)|(?:GET |POST |PUT )?(?<!\w)/[\w/]+", match["text"])


def exists(mention: str) -> bool:
    """Whether there is what a mention names; of a command: its script, its files and its subcommand."""
    if " " in mention and not mention.startswith(("GET ", "POST ", "PUT ")):
        words = mention.split()
        paths = [word for word in words if "/" in word and not word.startswith(("general.", "http"))]
        command = re.search(r"-m wmkml (\w+)", mention)
        return all(exists(word) for word in paths) and (command is None or command[1] in command_summaries())
    if re.match(r"(?:GET |POST |PUT )?/|/", mention):
        return route_exists(mention)
    if "/" in mention or re.search(rf"\.(?:{ENDINGS})$", mention):
        return path_exists(mention)
    if match := re.fullmatch(r"(\w+)\.(_?\w+)(?:\(\))?", mention):
        owner, member = match.groups()
        if owner in sections():
            return member in sections()[owner].model_fields
        return member in members().get(owner, set()) or any(
            path.stem == owner and member in bound(parts) for path, parts in parts_of_files().items()
        )
    if match := re.fullmatch(r"(\w+)\([\w, ]*\)", mention):
        return match[1] in functions()
    if mention.startswith("wmkml."):
        return leads_somewhere(mention)
    word = mention.partition(":")[0]
    return any(word in known for known in (names(), texts(), names_elsewhere(), OF_OTHERS))


def route_exists(mention: str) -> bool:
    """Whether a route or an OSC address, with or without its method, is there; `/desk` stands for all below it."""
    method, _, path = mention.rpartition(" ")
    if not method and (path in TABLE or any(route.partition(" ")[2].startswith(path) for route in routes())):
        return True
    return f"{method} {path}" in routes()


def path_exists(mention: str) -> bool:
    """Whether a path is in the repository or a room's; the name of a file that is made here must stand in the code."""
    path = mention.partition("::")[0]
    if path.startswith(MADE_HERE) or path in (".over", "data/"):
        name = path.rstrip("/").rpartition("/")[2]
        return path in MADE_HERE or "iteration-k" in path or path.startswith("env/bin/") or name in texts() | {"dist"}
    if "/" in path:
        return (PROJECT / path).exists() or (PROJECT / "wmkml" / path / "__init__.py").exists()
    return (
        (PROJECT / path).exists()
        or path in texts()
        or path in OF_OTHERS
        or any(file.name == path for file in parts_of_files())
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_it_names_exists(page: Path) -> None:
    mentioned = list(dict.fromkeys(mentions(page.read_text(encoding="utf-8"))))
    assert len(mentioned) > 100
    assert [mention for mention in mentioned if not exists(mention)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "mention",
    [
        "wmkml/owner/nowhere.py",
        "nowhere.py",
        "Chat.nowhere",
        "Nobody.ask",
        "nowhere()",
        "test_nowhere",
        "POST /nowhere",
        "GET /chat",
        "/nowhere",
        "finetuning.nowhere",
        "data/nowhere.json",
        "env/bin/python -m wmkml nowhere",
        "scripts/nowhere",
    ],
)
def test_what_is_not_there_is_noticed(mention: str) -> None:
    assert not exists(mention)


# --- the table of rooms, and the diagram -----------------------------------------------------------------------------


def test_every_room_is_in_the_table_on_its_floor() -> None:
    rows = re.findall(r"^\| `(\w+)/` \| (\d+) \|", ARCHITECTURE, re.MULTILINE)
    folders = {path.parent.name for path in (PROJECT / "wmkml").glob("*/__init__.py")}
    assert {name for name, _ in rows} == folders
    assert {name: int(floor) for name, floor in rows} == {
        name: number for number, floor in enumerate(FLOORS, start=1) for name in floor
    }


def test_the_diagram_of_a_round_has_exactly_the_transitions_of_the_table() -> None:
    [diagram] = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", ARCHITECTURE, re.DOTALL)
    arrows = re.findall(r"^ +(\S+) --> (\w+|\[\*\])(?:: (.+))?$", diagram, re.MULTILINE)
    assert len(arrows) == diagram.count("-->")
    drawn = [(source, event, target) for source, target, events in arrows for event in events.split(", ") if event]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {(status, event.value, target) for (status, event), target in TRANSITIONS.items()}
    without_event = {(source, target) for source, target, events in arrows if not events}
    final = {target for target in TRANSITIONS.values() if target != RETRY} - {status for status, _ in TRANSITIONS}
    assert without_event == {("[*]", "open"), (RETRY, "open"), (RETRY, "skipped"), *((name, "[*]") for name in final)}
