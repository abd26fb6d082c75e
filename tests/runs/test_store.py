"""A run's database and folder: durable while the run lasts, and deleted without a trace."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE
from wmkml.config import load_settings
from wmkml.owner.answers.dataset_answers import BaseAnswerCache
from wmkml.owner.run import run_folder
from wmkml.protocol.conversation import ChatToken
from wmkml.runs.database import StoreClosedError
from wmkml.runs.folder import UNFINISHED_PREFIX, adapter_folder, append_line, create_run
from wmkml.runs.schema import AcceptedAdapter, NewPair, Round
from wmkml.runs.store import RunStore

SETTINGS = load_settings(None, overrides={"general.hf_token": "hf_secret"})
CANARY = "Xylophonquappe"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def pair(prompt: str = "Frage", answer: str | None = "Antwort. Und", kept: int = 8, **more: Any) -> NewPair:
    defaults: dict[str, Any] = {"source": "visitor", "station": "", "language": "de", "iteration": -1, "live": True}
    return NewPair(**{**defaults, "prompt": prompt, "answer": answer, "kept": kept, **more})


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.process
def test_what_was_stored_survives_a_kill_at_once(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    store.close()
    program = (
        "import sys, os; from pathlib import Path; from tests.runs.test_store import pair; "
        "from wmkml.runs.store import RunStore; store = RunStore(Path(sys.argv[1])); "
        "store.add_pairs([pair('erste'), pair('zweite')]); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", program, str(folder / "run.sqlite")], cwd=root, check=False)
    assert done.returncode == -9
    run_and_store = run_folder.find_run(runs)
    assert run_and_store is not None
    assert [row["prompt"] for row in run_and_store[1].all_pairs()] == ["erste", "zweite"]
    run_and_store[1].close()


def test_pairs_are_stored_all_or_none(runs: Path) -> None:
    _, store = create_run(runs, "r", "de", SETTINGS)
    with pytest.raises(Exception, match="NOT NULL"):
        store.add_pairs([pair(), pair(answer=None)])
    assert store.pair_counts()["visitor"] == 0
    store.close()


def test_a_conversation_is_its_stations_own_and_cut(runs: Path) -> None:
    _, store = create_run(runs, "r", "de", SETTINGS)
    store.add_pairs(
        [
            pair("alt", carried=True),
            pair("eins"),
            pair("fremd", station="andere"),
            pair("echo", source="echo"),
            pair("zwei"),
        ]
    )
    assert [(exchange.prompt, exchange.text) for exchange in store.exchanges("")] == [
        ("eins", "Antwort."),
        ("zwei", "Antwort."),
    ]
    assert [exchange.prompt for exchange in store.exchanges("", newest=1)] == ["zwei"]
    assert store.stations() == {"", "andere"}
    store.close()


def test_the_newest_exchanges_come_with_their_tokens(runs: Path) -> None:
    _, store = create_run(runs, "r", "de", SETTINGS)
    tokens = [
        ChatToken(text="Antwort.", probability=0.5, entropy=1.25),
        ChatToken(text=" Und", probability=0.1, entropy=2),
    ]
    for prompt in ("eins", "zwei", "drei"):
        store.add_pairs([pair(prompt)], tokens)
    store.add_pairs([pair("fremd", station="andere")], tokens)
    store.add_pairs([pair("vier")])
    assert [(exchange.prompt, exchange.tokens) for exchange in store.shown_exchanges("", 2)] == [
        ("eins", []),
        ("zwei", tokens),
        ("drei", tokens),
        ("vier", []),
    ]
    assert [exchange.tokens for exchange in store.shown_exchanges("", 0)] == [[]] * 4
    assert [exchange.text for exchange in store.shown_exchanges("andere", 9)] == ["Antwort."]
    store.close()


def test_rounds_come_back_as_they_were(runs: Path) -> None:
    _, store = create_run(runs, "r", "de", SETTINGS)
    round_ = Round(0, "handed_in", 2, 0.0015, [3, 3, 1], 7, 1.5, path="/p", sha256="s", since_last_step=0.2)
    store.save_round(round_)
    assert store.rounds() == [round_]
    store.accept(AcceptedAdapter(0, "/p", "s", from_round=True), round_)
    assert [stored.status for stored in store.rounds()] == ["accepted"]
    row = store.run()
    assert row is not None and row.iteration == 0
    assert store.adapters() == [AcceptedAdapter(0, "/p", "s", from_round=True)]
    store.close()


def test_reading_waits_for_no_writer(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    store.add_pairs([pair()])
    other = sqlite3.connect(folder / "run.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # holds the write lock, like a commit that waits for the disk
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(store.add_pairs, [pair()])
        store.set_phase("last_words", 3.0)
        assert [store.pair_counts()["visitor"], len(store.exchanges("")), len(store.live_pairs())] == [1, 1, 1]
        assert not writing.done()
        other.execute("ROLLBACK")
        assert writing.result(30) == [2]
    row = store.run()
    assert row is not None and row.phase == "last_words" and store.pair_counts()["visitor"] == 2
    other.close()
    store.close()


def test_a_write_behind_that_failed_is_told_to_the_next_who_writes(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    round_ = Round(0, "open", 1, 0.0015, [1], 7, 1.5)
    with sqlite3.connect(folder / "run.sqlite") as other:
        other.execute("DROP TABLE rounds")
    store.save_round(round_)
    with pytest.raises(sqlite3.OperationalError, match="rounds"):
        store.accept(AcceptedAdapter(0, "/p", "s", from_round=True), round_)
    assert store.adapters() == []
    store.close()
    other.close()


def test_a_store_goes_on_after_a_commit_that_failed(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    with sqlite3.connect(folder / "run.sqlite") as other:  # a deferred foreign key fails only at COMMIT
        other.executescript(
            "CREATE TABLE rules (rule INTEGER PRIMARY KEY);"
            "CREATE TABLE ties (rule INTEGER REFERENCES rules DEFERRABLE INITIALLY DEFERRED);"
            "CREATE TRIGGER tie AFTER INSERT ON pairs WHEN new.prompt = 'never' BEGIN INSERT INTO ties VALUES (7); END;"
        )
    other.close()
    store._writer.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError):
        store.add_pairs([pair("never")])
    store.add_pairs([pair("again")])
    assert [row["prompt"] for row in store.all_pairs()] == ["again"]
    store.close()


def test_the_clock_does_not_order_the_adapters(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, store = create_run(runs, "r", "de", SETTINGS)
    for iteration, now in ((0, 2000.0), (1, 1000.0)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        store.accept(AcceptedAdapter(iteration, "/p", "s", from_round=True))
    assert [adapter.iteration for adapter in store.adapters()] == [0, 1]
    store.close()


def test_live_pairs_are_counted_up_to_so_many_of_a_prompt(runs: Path) -> None:
    _, store = create_run(runs, "r", "de", SETTINGS)
    assert store.count_live_pairs(2) == 0
    store.add_pairs([pair("a")] * 3 + [pair("b"), pair("c", live=False)])
    assert store.count_live_pairs(2) == 3
    store.add_pairs([pair("d", source="dataset", for_round=1, live=False)])
    assert (store.count_dataset_pairs(0), store.count_dataset_pairs(1)) == (0, 1)
    store.close()


def test_a_closed_store_keeps_nothing(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        store.add_pairs([pair()])
    with pytest.raises(StoreClosedError):
        store.pair_counts()
    assert sorted(path.name for path in folder.iterdir()) == ["adapters", "run.json", "run.sqlite"]


def test_the_settings_lie_beside_the_run_with_secrets_masked(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    store.close()
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert about["settings"]["finetuning"]["num_total_iters"] == 9
    assert b"hf_secret" not in all_bytes(runs)
    assert folder.stat().st_mode & 0o077 == 0


def test_a_buried_run_has_no_word_left_and_its_adapters_until_they_are_unloaded(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    store.add_pairs([pair(CANARY, CANARY)])
    adapter = adapter_folder(folder, 0, 1)
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    append_line(folder, "losses.jsonl", {"loss": 1.0})
    store.close()
    assert CANARY.encode() in all_bytes(runs)

    run_folder.delete_all_but_adapters(folder)
    assert CANARY.encode() not in all_bytes(runs)
    assert (adapter / "adapter_model.safetensors").is_file()
    assert run_folder.find_run(runs) is None and run_folder.find_run(runs, over=True) is None
    run_folder.delete_marked(runs)
    assert list(runs.iterdir()) == []


def test_a_burial_that_was_interrupted_is_finished(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    store.add_pairs([pair(CANARY)])
    store.close()
    run_folder.mark_over(folder)
    assert run_folder.find_run(runs) is None
    run_folder.finish_interrupted(runs)
    assert CANARY.encode() not in all_bytes(runs)
    run_folder.delete_marked(runs)
    assert list(runs.iterdir()) == []


def test_half_made_and_half_removed_folders_go(runs: Path) -> None:
    for name in (f"{UNFINISHED_PREFIX}a", f"{run_folder.DELETING_PREFIX}b"):
        (runs / name / "adapters").mkdir(parents=True)
    run_folder.finish_interrupted(runs)
    assert list(runs.iterdir()) == []


def test_only_adapters_go_where_the_words_shall_stay(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    store.add_pairs([pair(CANARY)])
    store.set_phase("waiting", 3.0)
    store.close()
    run_folder.mark_adapters_over(folder)
    run_folder.delete_marked(runs)
    assert not (folder / "adapters").exists()
    run_and_store = run_folder.find_run(runs, over=True)
    assert run_and_store is not None and run_and_store[1].all_pairs()[0]["prompt"] == CANARY
    run_and_store[1].close()


def test_runs_of_the_laboratory_are_left_alone(runs: Path) -> None:
    other = runs / "zz-laboratory"
    (other / "adapters").mkdir(parents=True)
    (other / "run.json").write_text('{"kind": "laboratory"}', encoding="utf-8")
    RunStore(other / "run.sqlite").close()
    run_folder.finish_interrupted(runs)
    assert run_folder.find_run(runs) is None
    assert (other / "run.json").is_file()


def test_the_newest_run_goes_on(runs: Path) -> None:
    for name in ("20260101-000000-de-aaaa", "20260102-000000-de-aaaa"):
        create_run(runs, name, "de", SETTINGS)[1].close()
    newest = run_folder.find_run(runs)
    assert newest is not None and newest[0].name == "20260102-000000-de-aaaa"
    newest[1].close()


def damage(folder: Path, name: str) -> None:
    if name == "run.json":
        (folder / name).write_bytes(b"")
    elif name == "run.sqlite":
        (folder / name).write_bytes(b"no database at all " * 500)
    else:  # overwrite pages in the middle
        with (folder / "run.sqlite").open("r+b") as file:
            file.seek(4096)
            file.write(b"x" * 4096 * 3)


@pytest.mark.parametrize("name", ["run.json", "run.sqlite", "a page"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_damaged_run_bars_no_other(runs: Path, name: str, keep: bool) -> None:
    for run in ("20260101-000000-de-aaaa", "20260102-000000-de-aaaa"):
        folder, store = create_run(runs, run, "de", SETTINGS)
        store.add_pairs([pair(CANARY)])
        store.close()
    (adapter_folder(folder, 0, 1)).mkdir()
    damage(folder, name)
    sentences = run_folder.discard_damaged_runs(runs, keep=keep)
    assert len(sentences) == 1 and folder.name in sentences[0] and CANARY not in sentences[0]
    assert (folder / "run.sqlite").exists() == keep
    assert (folder / "adapters").exists()
    if name != "a page":
        newest = run_folder.find_run(runs)
        assert newest is not None and newest[0].name == "20260101-000000-de-aaaa"
        newest[1].close()
    run_folder.delete_marked(runs)
    assert folder.exists() == keep


def test_base_answers_are_kept_by_model_language_and_prompt(tmp_path: Path) -> None:
    path = tmp_path / "base_answers.sqlite"
    kept = BaseAnswerCache(path, "a")
    kept.put("de", "Frage", "Antwort")
    kept.close()
    kept, other = BaseAnswerCache(path, "a"), BaseAnswerCache(path, "b")
    assert kept.get("de", "Frage") == "Antwort"
    assert kept.get("en", "Frage") is None
    assert other.get("de", "Frage") is None
    kept.delete("de", ["Frage"])
    assert kept.get("de", "Frage") is None
    kept.close()
    other.close()


@pytest.mark.parametrize("damaged", [b"", b"no database at all " * 50])
def test_kept_answers_that_are_damaged_are_made_anew(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "base_answers.sqlite"
    path.write_bytes(damaged)
    kept = BaseAnswerCache(path, "a")
    assert kept.get("de", "Frage") is None
    kept.put("de", "Frage", "Antwort")
    kept.close()
    assert BaseAnswerCache(path, "a").get("de", "Frage") == "Antwort"


def test_a_stations_language_is_on_the_disk_with_its_pairs(runs: Path) -> None:
    """An owner killed after the answer goes on in the language that the station had chosen before it asked."""
    folder, store = create_run(runs, "r", "en", SETTINGS)
    written_behind = threading.Event()
    store._write_thread.submit(written_behind.wait, PATIENCE)  # as where an earlier commit takes long
    store.set_language("a", "de")
    threading.Timer(0.2, written_behind.set).start()
    store.add_pairs([pair(station="a")])
    with closing(sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True)) as other:
        assert other.execute("SELECT station, language FROM stations").fetchall() == [("a", "de")]
    store.close()


def test_a_foreign_reader_only_delays_that_deleted_words_are_gone(runs: Path) -> None:
    folder, store = create_run(runs, "r", "de", SETTINGS)
    with closing(store):
        store.add_pairs([pair(CANARY, station="a")])
        with closing(sqlite3.connect(folder / "run.sqlite")) as backup:
            backup.execute("BEGIN")
            assert backup.execute("SELECT count(*) FROM pairs").fetchone() == (1,)
            assert len(store.forget("a")) == 1
            store.add_pairs([pair("danach")])
            assert CANARY.encode() in all_bytes(runs)
        deadline = time.monotonic() + PATIENCE
        while CANARY.encode() in all_bytes(runs) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert CANARY.encode() not in all_bytes(runs)
        assert [row["prompt"] for row in store.all_pairs()] == ["danach"]
