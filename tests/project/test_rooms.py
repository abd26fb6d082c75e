"""The rooms of the package: which room may import which, how many modules one holds, and what some must not import."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.project.syntax import nodes, python_files, tree

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "wmkml"

MOST_MODULES = 14
"""Modules side by side in a folder; `cli/` holds a file for each command, and may have more."""

FLOORS = (
    {"system"},
    {"config", "install"},
    {"access", "dialogue", "adapters", "models", "problems", "decency"},
    {"training", "corpora", "engine"},
    {"measures", "generation"},
    {"protocol", "understudy"},
    {"policy"},
    {"runs"},
    {"reports"},
    {"owner", "inference", "worker", "gui", "laboratory", "finetuning", "rehearsal", "doctor", "kiosk"},
    {"launcher", "autopsy"},
    {"siege"},
    {"cli"},
)
"""A room imports rooms of lower floors only.  What stands on one floor does not import each other."""

OWNER_FLOORS = (
    {"inference"},
    {"events", "run"},
    {"measuring", "report_maker"},
    {"answers"},
    {"rounds"},
    {"run_lifecycle"},
    {"installation"},
    {"opening"},
    {"context"},
    {"http"},
    {"problems"},
    {"autopsy", "stage"},
    {"desk"},
    {"app"},
    {"main"},
)
"""The same for the rooms and modules inside the owner."""

HEAVY = {"torch", "vllm", "transformers", "peft"}

STANDARD = set(sys.stdlib_module_names)

NO_VALUE_NAMES = {"one", "said", "told", "found", "mine", "theirs", "news", "ours"}
"""Names of values that say nothing of what they hold."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

CHECKED = python_files("wmkml", "tests", "benchmarks")


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function; a name of ours as the module that holds it."""
    modules = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {name if name in MODULES else node.module for name in names}
    return modules


@functools.cache
def imports_of_modules() -> dict[str, set[str]]:
    """What each module imports.  Not read when this file is imported, which every worker of the tests does."""
    return {module: imported_modules(path) for module, path in MODULES.items()}


def part_of(module: str, depth: int) -> str | None:
    """The part of a module's dotted path at this depth: 1 is the room, 2 the room inside it."""
    parts = module.split(".")
    return parts[depth] if len(parts) > depth else None


def imports_between(depth: int, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Every import from one part under `prefix` to another, as (module, own part, imported part)."""
    for module, imports in imports_of_modules().items():
        own = part_of(module, depth)
        for name in imports:
            other = part_of(name, depth)
            if module.startswith(prefix) and name.startswith(prefix) and own and other and own != other:
                yield module, own, other


@pytest.mark.parametrize(
    ("depth", "prefix", "floors"), [(1, "wmkml.", FLOORS), (2, "wmkml.owner.", OWNER_FLOORS)], ids=["rooms", "owner"]
)
def test_imports_point_downwards(depth: int, prefix: str, floors: tuple[set[str], ...]) -> None:
    floor_of = {name: floor for floor, names in enumerate(floors) for name in names}
    rooms = {part_of(module, depth) for module in MODULES if module.startswith(prefix)} - {"__main__"}
    assert rooms == set(floor_of), "a room is missing in the table of floors, or gone"
    upwards = [
        f"{module} imports {other}"
        for module, own, other in imports_between(depth, prefix)
        if "__main__" not in (own, other) and floor_of[other] >= floor_of[own]
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: {name for name in imports if name in MODULES} for module, imports in imports_of_modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' imports '.join(error.args[1])}")


def test_a_room_can_be_seen_at_a_glance() -> None:
    counts = Counter(path.parent for path in MODULES.values() if path.stem != "__init__")
    crowded = {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > MOST_MODULES}
    crowded.pop("wmkml/cli", None)
    assert crowded == {}


def test_the_services_meet_on_the_wire_only() -> None:
    services = {"owner", "inference", "worker"}
    meetings = [(module, other) for module, own, other in imports_between(1, "wmkml.") if {own, other} <= services]
    assert meetings == []


@pytest.mark.parametrize("room", ["install", "system"])
def test_what_runs_before_anything_is_installed_needs_nothing(room: str) -> None:
    """`install` is run by the system's Python; of `system`, what finds GPUs and what they need, cores, memory and a display."""
    light = {"gpus", "cores", "memory", "control_groups", "display", "gpu_environment", "__init__"}
    for module, path in MODULES.items():
        if part_of(module, 1) != room or (room == "system" and path.stem not in light):
            continue
        foreign = {
            name
            for name in imports_of_modules()[module]
            if name.partition(".")[0] not in STANDARD and not name.startswith((f"wmkml.{room}", "wmkml.system."))
        }
        assert foreign == set(), f"{module} is run before anything is installed"
        of_system = {name.split(".")[2] for name in imports_of_modules()[module] if name.startswith("wmkml.system.")}
        assert of_system <= light, f"{module} imports of system/ what needs an installed library"


def test_the_owner_names_no_heavy_library() -> None:
    named = {
        module: {name.partition(".")[0] for name in imports} & HEAVY
        for module, imports in imports_of_modules().items()
        if part_of(module, 1) in {"owner", "policy", "protocol", "runs", "access", "config"}
    }
    assert {module: names for module, names in named.items() if names} == {}


@pytest.mark.process
def test_the_owner_imports_no_torch_by_any_way() -> None:
    program = (
        "import sys, wmkml.owner.main; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'vllm', 'transformers', 'peft'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_policy_reads_no_clock_and_no_disk() -> None:
    for module, imports in imports_of_modules().items():
        if part_of(module, 1) == "policy":
            assert not imports & {"time", "asyncio", "os", "pathlib", "sqlite3"}, module


# --- names -----------------------------------------------------------------------------------------------------------


def bound_names(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a file gives to something: variables, arguments, attributes, functions, classes."""
    for node in nodes(path):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case (
                ast.arg(arg=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


def test_no_value_has_a_name_that_says_nothing() -> None:
    nameless = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in CHECKED
        for line, name in bound_names(path)
        if name.strip("_").lower() in NO_VALUE_NAMES
    ]
    assert nameless == []


def test_round_is_not_shadowed() -> None:
    """`round` is a built-in; the messages' field of this name is a key of JSON and stays."""
    shadows = []
    for path in CHECKED:
        fields = {
            statement.target.lineno
            for node in nodes(path)
            if isinstance(node, ast.ClassDef)
            for statement in node.body
            if isinstance(statement, ast.AnnAssign)
        }
        shadows += [
            f"{path.relative_to(ROOT)}:{line}"
            for line, name in bound_names(path)
            if name == "round" and line not in fields
        ]
    assert shadows == []


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in MODULES.items():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


# --- module paths in strings -----------------------------------------------------------------------------------------


def test_module_paths_in_strings_lead_somewhere() -> None:
    """`-m wmkml…` in scripts and commands, `worker_cls` of an engine, the functions of measures, names in prose."""
    strings: list[tuple[str, str]] = []
    for path in CHECKED:
        for node in nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.append((f"{path.relative_to(ROOT)}:{node.lineno}", node.value))
    for script in (
        *ROOT.glob("*.sh"),
        *(ROOT / "scripts").iterdir(),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
    ):
        strings.append((script.name, script.read_text(encoding="utf-8")))
    lost = [
        f"{place}: {reference}"
        for place, text in strings
        for reference in dotted_references(text)
        if not leads_somewhere(reference)
    ]
    assert lost == []


def dotted_references(text: str) -> set[str]:
    """What looks like a module of ours, or a name in one."""
    words = text.replace(":", ".").replace("`", " ").replace("(", " ").split()
    stripped = {word.strip("\"'.,;)…") for word in words}
    return {
        word for word in stripped if word.startswith("wmkml.") and all(part.isidentifier() for part in word.split("."))
    }


def leads_somewhere(reference: str) -> bool:
    """Whether it is a module, a folder of modules, or something that a module binds at its top."""
    if reference in MODULES or (ROOT / reference.replace(".", "/")).is_dir():
        return True
    module, _, name = reference.rpartition(".")
    while module not in MODULES:
        module, _, name = module.rpartition(".")
        if not module:
            return False
    return name in names_bound_in(MODULES[module])


@functools.cache
def names_bound_in(path: Path) -> frozenset[str]:
    return frozenset(name for _, name in bound_names(path))
