"""The artist's folder of the stage: the shipped one is valid, mistakes are reported by line, and the last valid state stays."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from wmkml.config.paths import SHIPPED_STAGE
from wmkml.owner.stage.folder import StageFolder
from wmkml.owner.stage.mapping import INPUTS, TARGETS

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_STAGE, tmp_path / "stage"))


def reload(stage: StageFolder) -> bool:
    """Whether a saved change was loaded; it takes two looks, since a file counts as saved when it stays the same between them."""
    return any([stage.reload_if_saved(), stage.reload_if_saved()])


def test_what_ships_is_right_and_maps_every_target() -> None:
    stage = StageFolder(SHIPPED_STAGE, SHIPPED_STAGE)
    assert stage.problems == []
    mapped = stage.runtime_state()["mapping"]["mappings"]
    scenes = stage.runtime_state()["mapping"]["scenes"]
    assert {rule["target"] for rule in mapped} | set(scenes) == set(TARGETS), "a scene has its share in `scenes`"
    assert {rule["input"] for rule in mapped} <= set(INPUTS)


def test_a_folder_that_is_not_there_is_the_shipped_one(tmp_path: Path) -> None:
    state = StageFolder(tmp_path / "nowhere", SHIPPED_STAGE).runtime_state()
    assert state == StageFolder(SHIPPED_STAGE, SHIPPED_STAGE).runtime_state()


def test_a_saved_change_is_said(folder: Path) -> None:
    stage = StageFolder(folder, SHIPPED_STAGE)
    assert not reload(stage)
    path = folder / "mapping.yaml"
    path.write_text(path.read_text().replace("range_out: [66, 38]", "range_out: [70.5, 38]"))
    assert reload(stage)
    assert stage.version == 1
    assert [70.5, 38.0] in [rule["range_out"] for rule in stage.runtime_state()["mapping"]["mappings"]]
    assert not reload(stage)


@pytest.mark.parametrize(
    ("line", "wrong", "problem_text"),
    [
        ("  - {target: colour, input: mood, range_in: [0, 1], range_out: [0, 1]}", "input", "'entropy'"),
        ("  - {target: hue, input: loss, range_in: [0, 1], range_out: [0, 1]}", "target", "'size'"),
        ("  - {target: tempo, input: loss, range_in: [0, 1], range_out: [60, 600]}", "range_out", "from 20 to 140"),
        ("  - {target: tempo, input: loss, range_in: [1, 1], range_out: [60, 70]}", "range_in", "the same"),
        ("  - {target: tempo, input: loss, range_in: [0, much], range_out: [60, 70]}", "range_in", "valid number"),
        ("  - {target: tempo, input: loss, range_in: [0, 1, range_out: [60, 70]}", "line", "expected"),
        ("  - {target: tempo, input: loss, range_in: [0, .inf], range_out: [60, 70]}", "range_in", "finite"),
        ("  - {target: tempo, input: loss, from: 3, range_in: [0, 1], range_out: [60, 70]}", "from", "not permitted"),
    ],
)
def test_a_mistake_is_told_by_its_line_and_changes_nothing(
    folder: Path, line: str, wrong: str, problem_text: str
) -> None:
    stage = StageFolder(folder, SHIPPED_STAGE)
    before = stage.runtime_state()
    path = folder / "mapping.yaml"
    lines = path.read_text().split("\n")
    number = lines.index("mappings:") + 2
    path.write_text("\n".join([*lines[: number - 1], line, *lines[number - 1 :]]))
    assert reload(stage)
    [problem] = stage.problems[:1]
    assert f"mapping.yaml, line {number}:" in problem
    assert wrong in problem
    assert problem_text in problem
    assert stage.runtime_state()["mapping"] == before["mapping"]
    path.write_text("\n".join(lines))
    assert reload(stage)
    assert stage.problems == []


def test_a_missing_text_is_told_where_its_language_begins(folder: Path) -> None:
    stage = StageFolder(folder, SHIPPED_STAGE)
    path = folder / "texts.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"  last_words: letzte Worte\n", "", text), encoding="utf-8")
    assert reload(stage)
    number = text.split("\n").index("de:") + 1
    assert stage.problems == [f"Stage: texts.yaml, line {number}: de.last_words: Field required."]


def test_text_that_is_not_utf8_or_empty_is_a_mistake(folder: Path) -> None:
    stage = StageFolder(folder, SHIPPED_STAGE)
    (folder / "texts.yaml").write_bytes("de: schön".encode("latin-1"))
    assert reload(stage)
    assert "UTF-8" in stage.problems[0]
    (folder / "texts.yaml").write_bytes(b"")
    assert reload(stage)
    assert "texts.yaml, line 1" in stage.problems[0]
    (folder / "texts.yaml").write_bytes(b"de: \0")
    assert reload(stage)
    assert "texts.yaml, line 1" in stage.problems[0]


def test_fonts_come_and_go_and_what_is_none_is_told(folder: Path) -> None:
    stage = StageFolder(folder, SHIPPED_STAGE)
    assert stage.runtime_state()["fonts"] == []
    (folder / "fonts" / "b.ttf").write_bytes(b"\0\1\0\0" + b"x" * 8)
    (folder / "fonts" / "a.woff2").write_bytes(b"wOF2" + b"x" * 8)
    (folder / "fonts" / "c.otf").write_text("not a font")
    assert reload(stage)
    assert stage.runtime_state()["fonts"] == ["a.woff2", "b.ttf"]
    assert stage.problems == ["Stage: fonts/c.otf: is not a font that browsers know (.woff2, .woff, .ttf, .otf)."]
    assert stage.font("b.ttf") == folder / "fonts" / "b.ttf"
    assert stage.font("c.otf") is None


def test_a_font_that_comes_while_it_reads_and_goes_at_once_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED_STAGE, tmp_path / "stage")
    stage = StageFolder(tmp_path / "stage", SHIPPED_STAGE)
    font = tmp_path / "stage" / "fonts" / "a.woff2"
    load = stage._load

    def load_late() -> None:
        font.write_bytes(b"wOF2" + b"no font" * 9)
        load()

    (tmp_path / "stage" / "texts.yaml").touch()
    monkeypatch.setattr(stage, "_load", load_late)
    assert reload(stage) and stage.font("a.woff2") is not None
    monkeypatch.setattr(stage, "_load", load)
    font.unlink()
    assert reload(stage) and stage.font("a.woff2") is None


def test_the_page_and_the_docs_know_the_same_names() -> None:
    page = (ROOT / "frontend" / "src" / "stage" / "names.ts").read_text(encoding="utf-8")
    docs = (ROOT / "docs" / "stage.md").read_text(encoding="utf-8")
    types = (ROOT / "frontend" / "src" / "lib" / "measures.generated.ts").read_text(encoding="utf-8")
    for name in (*INPUTS, *TARGETS):
        assert f"  {name}: " in page or f'  "{name}": ' in types
        assert f"| `{name}` |" in docs
    for name, (low, high) in TARGETS.items():
        assert f"  {name}: [{low:g}, {high:g}," in page, "bounds, and where it rests"
        assert f"| `{name}` | {low:g} to {high:g} |" in docs
