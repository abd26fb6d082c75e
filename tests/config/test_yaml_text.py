"""libyaml reads what PyYAML's own parser reads, and a mistake is named as by that parser."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wmkml.config.yaml_text import parse_yaml

PROJECT = Path(__file__).parent.parent.parent
FILES = sorted([*PROJECT.glob("*.yaml"), *(PROJECT / "stage").rglob("*.yaml"), *(PROJECT / "wmkml").rglob("*.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_our_own_files_hold_the_same(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    content = parse_yaml(text)
    assert content == yaml.safe_load(text)
    assert content


@pytest.mark.parametrize(
    "text",
    ["a: [1, 2", "a: b: c", "a:\n\t- 1", "'", "a: \x07", "a: 1\nb: *nobody", "- 1\nb: 2", "a: !!python/name:os.x"],
)
def test_a_mistake_is_named_the_same(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as expected:
        yaml.safe_load(text)
    with pytest.raises(type(expected.value)) as error:
        parse_yaml(text)
    assert str(error.value) == str(expected.value)


@pytest.mark.parametrize(
    "text", ["", "a: yes\nb: 0x1f\nc: 1e3\nd: 12:30:45\ne: 2026-01-02", "a: &x [ü, 🏠]\nb: *x", "a: |\n  b\n  c\n"]
)
def test_values_are_the_same(text: str) -> None:
    assert parse_yaml(text) == yaml.safe_load(text)
