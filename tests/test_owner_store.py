"""A run's database and folder: durable, and gone without a trace."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wmkml.config import load_settings
from wmkml.owner import run_folder
from wmkml.owner.dataset_answers import KeptAnswers
from wmkml.runs.folder import UNFINISHED, adapter_folder, append_line, make
from wmkml.runs.schema import AcceptedAdapter, NewPair, Round
from wmkml.runs.store import RunStore, StoreClosed
from wmkml.wire import ChatToken

SETTINGS = load_settings(None, overrides={"general.hf_token": "hf_secret"})
CANARY = "Xylophonquappe"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def pair(prompt: str = "Frage", answer: str = "Antwort. Und", kept: int = 8, **more: object) -> NewPair:
    given = {"source": "visitor", "station": "", "language": "de", "iteration": -1, "live": True}
    return NewPair(**{**given, "prompt": prompt, "answer": answer, "kept": kept, **more})  # type: ignore[arg-type]


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_was_stored_survives_a_kill_at_once(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    store.close()
    program = (
        "import sys, os; from pathlib import Path; from tests.test_owner_store import pair; "
        "from wmkml.runs.store import RunStore; store = RunStore(Path(sys.argv[1])); "
        "store.add_pairs([pair('erste'), pair('zweite')]); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program, str(folder / "run.sqlite")], cwd=root, check=False)
    assert done.returncode == -9
    found = run_folder.find(runs)
    assert found is not None
    assert [row["prompt"] for row in found[1].all_pairs()] == ["erste", "zweite"]
    found[1].close()


def test_pairs_are_stored_all_or_none(runs: Path) -> None:
    _, store = make(runs, "r", "de", SETTINGS)
    with pytest.raises(Exception, match="NOT NULL"):
        store.add_pairs([pair(), pair(answer=None)])
    assert store.counts()["visitor"] == 0
    store.close()


def test_a_conversation_is_its_stations_own_and_cut(runs: Path) -> None:
    _, store = make(runs, "r", "de", SETTINGS)
    store.add_pairs(
        [
            pair("alt", carried=True),
            pair("eins"),
            pair("fremd", station="andere"),
            pair("echo", source="echo"),
            pair("zwei"),
        ]
    )
    assert [(one.prompt, one.text) for one in store.exchanges("")] == [("eins", "Antwort."), ("zwei", "Antwort.")]
    assert [one.prompt for one in store.exchanges("", newest=1)] == ["zwei"]
    assert store.stations() == {"", "andere"}
    store.close()


def test_the_newest_exchanges_come_with_their_tokens(runs: Path) -> None:
    _, store = make(runs, "r", "de", SETTINGS)
    said = [
        ChatToken(text="Antwort.", probability=0.5, entropy=1.25),
        ChatToken(text=" Und", probability=0.1, entropy=2),
    ]
    for prompt in ("eins", "zwei", "drei"):
        store.add_pairs([pair(prompt)], said)
    store.add_pairs([pair("fremd", station="andere")], said)
    store.add_pairs([pair("vier")])
    assert [(one.prompt, one.tokens) for one in store.shown("", 2)] == [
        ("eins", []),
        ("zwei", said),
        ("drei", said),
        ("vier", []),
    ]
    assert [one.tokens for one in store.shown("", 0)] == [[]] * 4
    assert [one.text for one in store.shown("andere", 9)] == ["Antwort."]
    store.close()


def test_rounds_come_back_as_they_were(runs: Path) -> None:
    _, store = make(runs, "r", "de", SETTINGS)
    one = Round(0, "handed_in", 2, 0.0015, [3, 3, 1], 7, 1.5, path="/p", sha256="s", since_last_step=0.2)
    store.save_round(one)
    assert store.rounds() == [one]
    store.accept(AcceptedAdapter(0, "/p", "s", from_round=True), one)
    assert [round.status for round in store.rounds()] == ["accepted"]
    row = store.run()
    assert row is not None and row.iteration == 0
    assert store.adapters() == [AcceptedAdapter(0, "/p", "s", from_round=True)]
    store.close()


def test_reading_waits_for_no_writer(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    store.add_pairs([pair()])
    other = sqlite3.connect(folder / "run.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # as a commit that waits for the disk
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(store.add_pairs, [pair()])
        store.set_phase("last_words", 3.0)
        assert [store.counts()["visitor"], len(store.exchanges("")), len(store.live())] == [1, 1, 1]
        assert not writing.done()
        other.execute("ROLLBACK")
        assert writing.result(30) == [2]
    row = store.run()
    assert row is not None and row.phase == "last_words" and store.counts()["visitor"] == 2
    other.close()
    store.close()


def test_a_write_behind_that_failed_is_told_to_the_next_who_writes(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    one = Round(0, "open", 1, 0.0015, [1], 7, 1.5)
    with sqlite3.connect(folder / "run.sqlite") as other:
        other.execute("DROP TABLE rounds")
    store.save_round(one)
    with pytest.raises(sqlite3.OperationalError, match="rounds"):
        store.accept(AcceptedAdapter(0, "/p", "s", from_round=True), one)
    assert store.adapters() == []
    store.close()
    other.close()


def test_a_store_goes_on_after_a_commit_that_failed(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    with sqlite3.connect(
        folder / "run.sqlite"
    ) as other:  # what a trigger forbids shows at once, a broken tie at COMMIT
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
    _, store = make(runs, "r", "de", SETTINGS)
    for iteration, now in ((0, 2000.0), (1, 1000.0)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        store.accept(AcceptedAdapter(iteration, "/p", "s", from_round=True))
    assert [one.iteration for one in store.adapters()] == [0, 1]
    store.close()


def test_live_pairs_are_counted_up_to_so_many_of_a_prompt(runs: Path) -> None:
    _, store = make(runs, "r", "de", SETTINGS)
    assert store.considered(2) == 0
    store.add_pairs([pair("a")] * 3 + [pair("b"), pair("c", live=False)])
    assert store.considered(2) == 3
    store.add_pairs([pair("d", source="dataset", for_round=1, live=False)])
    assert (store.answered_for(0), store.answered_for(1)) == (0, 1)
    store.close()


def test_a_closed_store_keeps_nothing(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.add_pairs([pair()])
    with pytest.raises(StoreClosed):
        store.counts()
    assert sorted(path.name for path in folder.iterdir()) == ["adapters", "run.json", "run.sqlite"]


def test_the_settings_lie_beside_the_run_with_secrets_masked(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    store.close()
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert about["settings"]["finetuning"]["num_total_iters"] == 9
    assert b"hf_secret" not in all_bytes(runs)
    assert folder.stat().st_mode & 0o077 == 0


def test_a_buried_run_has_no_word_left_and_its_adapters_until_they_are_unloaded(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    store.add_pairs([pair(CANARY, CANARY)])
    adapter = adapter_folder(folder, 0, 1)
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    append_line(folder, "losses.jsonl", {"loss": 1.0})
    store.close()
    assert CANARY.encode() in all_bytes(runs)

    run_folder.bury(folder)
    assert CANARY.encode() not in all_bytes(runs)
    assert (adapter / "adapter_model.safetensors").is_file()
    assert run_folder.find(runs) is None and run_folder.find(runs, over=True) is None
    run_folder.empty_graves(runs)
    assert list(runs.iterdir()) == []


def test_a_burial_that_was_interrupted_is_finished(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    store.add_pairs([pair(CANARY)])
    store.close()
    run_folder.give_up(folder)
    assert run_folder.find(runs) is None
    run_folder.tidy(runs)
    assert CANARY.encode() not in all_bytes(runs)
    run_folder.empty_graves(runs)
    assert list(runs.iterdir()) == []


def test_half_made_and_half_removed_folders_go(runs: Path) -> None:
    for name in (f"{UNFINISHED}a", f"{run_folder.GONE}b"):
        (runs / name / "adapters").mkdir(parents=True)
    run_folder.tidy(runs)
    assert list(runs.iterdir()) == []


def test_only_adapters_go_where_the_words_shall_stay(runs: Path) -> None:
    folder, store = make(runs, "r", "de", SETTINGS)
    store.add_pairs([pair(CANARY)])
    store.set_phase("waiting", 3.0)
    store.close()
    run_folder.give_up_adapters(folder)
    run_folder.empty_graves(runs)
    assert not (folder / "adapters").exists()
    found = run_folder.find(runs, over=True)
    assert found is not None and found[1].all_pairs()[0]["prompt"] == CANARY
    found[1].close()


def test_runs_of_the_laboratory_are_left_alone(runs: Path) -> None:
    other = runs / "zz-laboratory"
    (other / "adapters").mkdir(parents=True)
    (other / "run.json").write_text('{"kind": "laboratory"}', encoding="utf-8")
    RunStore(other / "run.sqlite").close()
    run_folder.tidy(runs)
    assert run_folder.find(runs) is None
    assert (other / "run.json").is_file()


def test_the_newest_run_goes_on(runs: Path) -> None:
    for name in ("20260101-000000-de-aaaa", "20260102-000000-de-aaaa"):
        make(runs, name, "de", SETTINGS)[1].close()
    found = run_folder.find(runs)
    assert found is not None and found[0].name == "20260102-000000-de-aaaa"
    found[1].close()


def damage(folder: Path, name: str) -> None:
    if name == "run.json":
        (folder / name).write_bytes(b"")
    elif name == "run.sqlite":
        (folder / name).write_bytes(b"no database at all " * 500)
    else:  # a page within is gone
        with (folder / "run.sqlite").open("r+b") as file:
            file.seek(4096)
            file.write(b"x" * 4096 * 3)


@pytest.mark.parametrize("name", ["run.json", "run.sqlite", "a page"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_damaged_run_bars_no_other(runs: Path, name: str, keep: bool) -> None:
    for run in ("20260101-000000-de-aaaa", "20260102-000000-de-aaaa"):
        folder, store = make(runs, run, "de", SETTINGS)
        store.add_pairs([pair(CANARY)])
        store.close()
    (adapter_folder(folder, 0, 1)).mkdir()
    damage(folder, name)
    told = run_folder.give_up_damaged(runs, keep=keep)
    assert len(told) == 1 and folder.name in told[0] and CANARY not in told[0]
    assert (folder / "run.sqlite").exists() == keep
    assert (folder / "adapters").exists()
    if name != "a page":
        found = run_folder.find(runs)
        assert found is not None and found[0].name == "20260101-000000-de-aaaa"
        found[1].close()
    run_folder.empty_graves(runs)
    assert folder.exists() == keep


def test_base_answers_are_kept_by_model_language_and_prompt(tmp_path: Path) -> None:
    path = tmp_path / "base_answers.sqlite"
    kept = KeptAnswers(path, "a")
    kept.put("de", "Frage", "Antwort")
    kept.close()
    kept, other = KeptAnswers(path, "a"), KeptAnswers(path, "b")
    assert kept.get("de", "Frage") == "Antwort"
    assert kept.get("en", "Frage") is None
    assert other.get("de", "Frage") is None
    kept.forget("de", ["Frage"])
    assert kept.get("de", "Frage") is None
    kept.close()
    other.close()


@pytest.mark.parametrize("damaged", [b"", b"no database at all " * 50])
def test_kept_answers_that_are_damaged_are_made_anew(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "base_answers.sqlite"
    path.write_bytes(damaged)
    kept = KeptAnswers(path, "a")
    assert kept.get("de", "Frage") is None
    kept.put("de", "Frage", "Antwort")
    kept.close()
    assert KeptAnswers(path, "a").get("de", "Frage") == "Antwort"
