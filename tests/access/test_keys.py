"""The key file: created once, readable by its owner alone, the same keys for processes that start at once."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from wmkml.access.keys import KeysUnreadableError, key_matches, load_keys
from wmkml.config import load_settings
from wmkml.config.paths import Paths, paths_of


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return paths_of(load_settings(), tmp_path)


def test_the_second_call_gives_the_same_keys(paths: Paths) -> None:
    keys = load_keys(paths)
    assert load_keys(paths) == keys
    assert len({keys.stage, keys.worker, keys.operator}) == 3


def test_only_the_owner_of_the_file_can_read_it(paths: Paths) -> None:
    load_keys(paths)
    assert stat.S_IMODE(paths.keys.stat().st_mode) == 0o600
    assert [path.name for path in paths.data.iterdir()] == ["keys.json"]


def test_processes_that_start_at_once_agree(paths: Paths) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(load_keys, [paths] * 8)
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\0" * 150,  # what a power cut may leave
        "{}",
        "[]",
        '{"stage": "a"}',
        '{"stage": "", "worker": "b", "operator": "c"}',
        '{"stage": "a", "worker": "\\u00e4", "operator": "c"}',  # no header carries it: inference and worker would fail for ever
        '{"stage": "a", "worker": "b\\n", "operator": "c"}',
        '{"stage": ["a"], "worker": "b", "operator": "c"}',
        '{"stage": "a", "worker": "b", "operator": "b"}',
    ],
)
def test_a_broken_key_file_is_named(paths: Paths, content: str) -> None:
    paths.data.mkdir()
    paths.keys.write_text(content, encoding="utf-8")
    with pytest.raises(KeysUnreadableError, match=r"keys\.json"):
        load_keys(paths)


def test_a_key_opens_and_nothing_else_does(paths: Paths) -> None:
    keys = load_keys(paths)
    assert key_matches(keys.stage, keys.stage, keys.operator)
    assert key_matches(keys.operator, keys.stage, keys.operator)
    for wrong in (None, "", keys.worker, keys.stage[:-1], "ключ"):
        assert not key_matches(wrong, keys.stage, keys.operator)
    assert not key_matches("", "") and not key_matches(None, "")
