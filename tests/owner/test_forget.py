"""`POST /forget`: a station's words are deleted at once, wherever they are, and nobody else's."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.owner.owner_cluster import ROOT, OwnerCluster, started_cluster
from tests.small_disk import small_disk
from tests.waiting import until

pytestmark = pytest.mark.process

CANARY = "Xylophonquappe"

FREE_BYTES = 500_000
"""Room for the deletion of the pairs of `test_a_disk_that_takes_the_deletion…`, and none for emptying the log into the file."""


def files_with(cluster: OwnerCluster, word: str) -> list[str]:
    """The files of the data folder that hold a word, the write-ahead logs included."""
    files = [path for path in cluster.paths.data.rglob("*") if path.is_file()]
    return [path.name for path in files if word.encode() in path.read_bytes()]


def forget(cluster: OwnerCluster, station: str) -> dict[str, object]:
    reply = cluster.owner.post("/forget", json={"station": station})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_words_are_deleted_from_everywhere_and_from_the_round_that_nobody_has_claimed(cluster: OwnerCluster) -> None:
    cluster.begin()
    first = cluster.claim()  # on the seed alone
    cluster.chat(f"{CANARY} sagt", station="a")
    cluster.chat("Ein Wort, das bleibt", station="b")
    until(lambda: cluster.counts()["echo"] == 4, "echoes")
    assert cluster.train(first)["accepted"]
    until(lambda: len(cluster.state()["rounds"]) == 2, "round 1, which nobody has claimed")
    assert files_with(cluster, CANARY)
    events = cluster.events()
    state = next(events)

    assert forget(cluster, "a") == {"pairs": 3, "learned": False}
    assert files_with(cluster, CANARY) == []
    assert next(event.data for event in events if event.event == "forgotten") == '{"station":"a"}'
    assert cluster.owner.get("/station?station=a").json()["exchanges"] == []
    # What a stage hears that resumes, or opens now.
    resumed = cluster.events(state.id)
    seen = [next(resumed).data for _ in range(2)]
    assert not any(CANARY in data for data in seen)
    job = cluster.claim()
    assert job["samples"] and not any(CANARY in sample["prompt"] for sample in job["samples"])
    assert {pair["station"] for pair in cluster.pairs("visitor")} == {"b"}
    assert cluster.counts()["echo"] == 2
    assert CANARY not in cluster.log.read_text()

    # A round that trains on them has them, and it is said.
    assert any("bleibt" in sample["prompt"] for sample in job["samples"])
    assert forget(cluster, "b") == {"pairs": 3, "learned": True}
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(1)
    assert forget(cluster, "nobody") == {"pairs": 0, "learned": False}


def test_a_disk_that_takes_the_deletion_and_no_more_keeps_the_words_from_nobody_but_the_file(tmp_path: Path) -> None:
    settings = {"inference.num_generated_responses": 1}  # few commits: each fills the log, which is emptied at 4 MB
    with small_disk(tmp_path / "disk") as disk, started_cluster(disk.folder, **settings) as cluster:
        cluster.behave(words=[CANARY, "x" * 5000])
        cluster.begin()
        first = cluster.claim()
        for number in range(30):
            cluster.chat(f"{CANARY} {number}", station="a")
        until(lambda: cluster.counts()["echo"] == 30, "echoes")
        assert cluster.train(first)["accepted"]
        until(lambda: len(cluster.state()["rounds"]) == 2, "round 1, which nobody has claimed")
        events = cluster.events()
        next(events)

        disk.fill(leaving=FREE_BYTES)
        assert forget(cluster, "a") == {"pairs": 60, "learned": False}
        assert files_with(cluster, CANARY), "the log could be emptied: FREE_BYTES does not provoke what it should"
        assert next(event.data for event in events if event.event == "forgotten") == '{"station":"a"}'
        disk.free()
        assert not any(CANARY in sample["prompt"] for sample in cluster.claim()["samples"])
        until(lambda: not files_with(cluster, CANARY), "the words to be gone from the files")
        assert CANARY not in cluster.log.read_text()


def test_the_words_of_several_visitors_are_deleted_by_the_operator_alone(cluster: OwnerCluster) -> None:
    assert cluster.owner.post("/forget", json={"station": "a"}).status_code == 409
    cluster.begin()
    cluster.chat(CANARY)
    assert cluster.owner.post("/forget", json={"station": ""}).status_code == 401
    reply = cluster.owner.post("/forget", json={"station": ""}, headers={"X-Key": cluster.keys.operator})
    assert reply.json()["pairs"] >= 1
    until(lambda: files_with(cluster, CANARY) == [], "no file with it")


def texts_of(paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of files, and of what is packed in them."""
    for path in paths:
        content = path.read_bytes()
        yield str(path), content
        if content.startswith(b"\x1f\x8b"):
            yield f"{path}, unpacked", gzip.decompress(content)
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                yield from ((f"{path}: {name}", archive.read(name)) for name in archive.namelist())


def copies_with(word: str, folder: Path) -> list[str]:
    """The files of a folder, packed ones too, that hold a word in any of the encodings that files here are written in."""
    spellings = {word.encode(), json.dumps(word)[1:-1].encode(), word.encode("utf-16-le")}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name, content in texts_of(files) if any(spelling in content for spelling in spellings)]


def backed_up(cluster: OwnerCluster, folder: Path) -> Path:
    """Everything that somebody may carry away: the data folder as it lies there, each database by SQLite's own backup, and diagnostics."""
    folder.mkdir()
    shutil.copytree(cluster.paths.data, folder / "data")
    for number, database in enumerate(sorted(cluster.paths.data.rglob("*.sqlite"))):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source:
            with closing(sqlite3.connect(folder / f"{number}.sqlite")) as target:
                source.backup(target)
            (folder / f"{number}.sql").write_text("\n".join(source.iterdump()), encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        "wmkml",
        "diagnostics",
        "--config",
        str(cluster.config),
        "--out",
        str(folder / "d.zip"),
    ]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


def test_no_backup_holds_words_that_were_deleted(tmp_path: Path) -> None:
    """Of an installation that keeps its runs and its reports, so that there is something to carry away."""
    settings = {"general.keep_runs": True, "general.keep_reports": 5, "general.logging": "DEBUG"}
    with started_cluster(tmp_path, **settings) as cluster:
        cluster.behave(words=["Die ", CANARY, " bin ", "ich."])  # it is in the answer, too
        cluster.begin()
        first = cluster.claim()
        cluster.chat(f"{CANARY} sagt", station="a")
        cluster.chat(f"Was ist eine {CANARY}?", station="a")
        until(lambda: cluster.counts()["echo"] == 4, "echoes")
        cluster.owner.post("/card", json={"station": "a"})
        cluster.owner.post("/chat", json={"prompt": f"{CANARY} " * 2000, "station": "a"})  # an error
        cluster.owner.post("/chat", content=f'{{"prompt": "{CANARY}'.encode())  # and another
        assert cluster.train(first)["accepted"]
        before = backed_up(cluster, tmp_path / "before")
        held = copies_with(CANARY, before)
        assert any(name.endswith("run.sqlite") or "run.sqlite-wal" in name for name in held), (
            "a backup is of everything"
        )
        assert any(name.endswith(".sql") for name in held)
        assert not [name for name in held if "d.zip" in name or ".log" in name], "an error or diagnostics quote nobody"

        assert forget(cluster, "a")["pairs"] == 6
        assert copies_with(CANARY, backed_up(cluster, tmp_path / "after")) == []
        # At once: the owner is killed in the next moment, and what it left is carried away.
        cluster.behave(words=["Ein ", "Wort."])
        cluster.chat("Ein Wort, das bleibt", station="b")
        cluster.chat(f"{CANARY} noch einmal", station="a")
        forget(cluster, "a")
        cluster.kill_owner()
        assert copies_with(CANARY, backed_up(cluster, tmp_path / "killed")) == []
        cluster.start_owner()
        cluster.until_phase("running")
        assert cluster.end().status_code == 200
        cluster.until_phase("waiting")
        until(lambda: list(cluster.paths.reports.glob("*/report.html")), "the report of the run")
        kept = backed_up(cluster, tmp_path / "kept")
        assert copies_with(CANARY, kept) == []
        assert copies_with("Ein Wort, das bleibt", kept), "the run was kept, with what was not deleted"
