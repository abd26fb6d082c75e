"""The keys: made once, readable by their owner alone, the same for whoever comes first."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from wmkml.config import load_settings
from wmkml.keys import KeysUnreadable, load_keys, opens
from wmkml.places import Places, places


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return places(load_settings(), tmp_path)


def test_the_second_call_gives_the_same_keys(here: Places) -> None:
    keys = load_keys(here)
    assert load_keys(here) == keys
    assert len({keys.stage, keys.worker, keys.operator}) == 3


def test_only_the_owner_of_the_file_can_read_it(here: Places) -> None:
    load_keys(here)
    assert stat.S_IMODE(here.keys.stat().st_mode) == 0o600
    assert [path.name for path in here.data.iterdir()] == ["keys.json"]


def test_processes_that_start_at_once_agree(here: Places) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.map(load_keys, [here] * 8)
    assert len(set(made)) == 1


@pytest.mark.parametrize("content", ["", "{}", '{"stage": "a"}', '{"stage": "", "worker": "b", "operator": "c"}', "[]"])
def test_a_broken_key_file_is_named(here: Places, content: str) -> None:
    here.data.mkdir()
    here.keys.write_text(content, encoding="utf-8")
    with pytest.raises(KeysUnreadable, match=r"keys\.json"):
        load_keys(here)


def test_a_key_opens_and_nothing_else_does(here: Places) -> None:
    keys = load_keys(here)
    assert opens(keys.stage, keys.stage, keys.operator)
    assert opens(keys.operator, keys.stage, keys.operator)
    for wrong in (None, "", keys.worker, keys.stage[:-1], "ключ"):
        assert not opens(wrong, keys.stage, keys.operator)
