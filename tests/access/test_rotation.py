"""Rotation of keys: what the ring of a running service knows, what the command says, and that of two rotations none is lost."""

from __future__ import annotations

import io
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.access.key_ring import WORKER_GRACE_SECONDS, KeyRing
from wmkml.access.keys import KEY_NAMES, load_keys, rotate_key
from wmkml.access.node_key import load_node_key
from wmkml.access.pin import load_pin
from wmkml.access.rotation import ROTATABLE
from wmkml.config import load_settings
from wmkml.config.paths import Paths, paths_of


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return paths_of(load_settings(), tmp_path)


@pytest.mark.parametrize("name", KEY_NAMES)
def test_a_ring_knows_a_rotated_key_at_once_and_the_others_stay(paths: Paths, name: str) -> None:
    ring = KeyRing(paths)
    before = vars(ring.now())
    new = rotate_key(paths, name)  # type: ignore[arg-type]
    after = vars(ring.now())
    assert after[name] == new != before[name]
    assert {other: after[other] for other in KEY_NAMES if other != name} == {
        other: before[other] for other in KEY_NAMES if other != name
    }
    assert stat.S_IMODE(paths.keys.stat().st_mode) == 0o600


def test_the_workers_former_key_is_good_for_a_round_for_a_while_and_for_nothing_else(paths: Paths) -> None:
    now = [0.0]
    ring = KeyRing(paths, lambda: now[0])
    former = ring.worker
    assert ring.worker_keys_of_a_round() == (former,)
    new = rotate_key(paths, "worker")
    rotated_at = paths.keys.stat().st_mtime
    now[0] = rotated_at + 1
    assert ring.worker == new
    assert ring.worker_keys_of_a_round() == (new, former)
    now[0] = rotated_at + WORKER_GRACE_SECONDS + 0.001  # a sum of such numbers is rounded
    assert ring.worker_keys_of_a_round() == (new,)
    now[0] = rotated_at - 3600.0
    assert ring.worker_keys_of_a_round() == (new,), "a clock that is set back makes no key good for ever"
    now[0] = rotated_at + 1
    newest = rotate_key(paths, "worker")
    os.utime(paths.keys, (rotated_at, rotated_at))
    assert ring.worker_keys_of_a_round() == (newest, new), "the one before the last is good for nothing"
    stage = rotate_key(paths, "stage")
    assert (ring.stage, ring.worker_keys_of_a_round()) == (stage, (newest, new)), (
        "another key's rotation changes no grace"
    )


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_a_key_file_that_is_lost_or_spoiled_locks_nobody_out(paths: Paths, content: str | None) -> None:
    ring = KeyRing(paths)
    keys = ring.now()
    paths.keys.unlink()
    if content is not None:
        paths.keys.write_text(content, encoding="utf-8")
    assert ring.now() == keys
    paths.keys.unlink(missing_ok=True)
    assert load_keys(paths) == ring.now() != keys, "a new file counts"


def _rotate_often(paths: Paths, name: str) -> list[str]:
    return [rotate_key(paths, name) for _ in range(20)]  # type: ignore[arg-type]


def test_of_rotations_at_once_none_is_lost(paths: Paths) -> None:
    load_keys(paths)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        last = [keys[-1] for keys in pool.starmap(_rotate_often, [(paths, name) for name in KEY_NAMES])]
    assert list(vars(load_keys(paths)).values()) == last


def command(paths: Paths, *words: str) -> int:
    return main(["keys", *words, "--set", f"general.data_folder={paths.data}"])


def test_the_command_rotates_what_it_is_told_and_prints_it(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    before = load_keys(paths), load_pin(paths), load_node_key(paths)
    assert command(paths) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ROTATABLE)
    secrets = [*vars(before[0]).values(), *before[1:]]
    assert not [secret for secret in secrets if secret in shown], "it shows no key"
    assert command(paths, "rotate", "worker", "pin", "node") == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    keys = load_keys(paths)
    assert printed == {"worker": keys.worker, "pin": load_pin(paths), "node": load_node_key(paths)}
    assert not set(printed.values()) & set(secrets)
    assert (keys.stage, keys.operator) == (before[0].stage, before[0].operator)


@pytest.mark.parametrize("words", [["rotate"], ["rotate", "visitor"], ["take", "stage"], ["show", "stage"], ["take"]])
def test_a_wrong_name_changes_nothing(paths: Paths, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = load_keys(paths)
    assert command(paths, *words) == 2
    assert "allowed after it" in capsys.readouterr().err
    assert load_keys(paths) == before


def test_a_node_takes_the_heads_new_key_from_standard_input(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a-new-key-of-the-head\n"))
    assert command(paths, "take", "node") == 0
    assert load_node_key(paths) == "a-new-key-of-the-head"
    assert "a-new-key" not in capsys.readouterr().out
    for wrong in ("", "short", "with a space in its middle", "ключ-ключ-ключ-ключ"):
        monkeypatch.setattr("sys.stdin", io.StringIO(wrong + "\n"))
        assert command(paths, "take", "node") == 2
    assert load_node_key(paths) == "a-new-key-of-the-head"
