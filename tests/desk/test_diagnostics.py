"""The diagnostics: everything that helps, and no visitor's word, key or PIN, with canaries wherever one could come from."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.desk.operator import SECRET, DeskClient
from tests.owner.played_owner import PlayedOwner
from wmkml.__main__ import main
from wmkml.access.keys import load_keys
from wmkml.access.pin import load_pin
from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.problems.diagnostics import LOG_TAIL_BYTES, REMOVED, pack_diagnostics

TOKEN = "hf_verysecrettoken"


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    return {"general.hf_token": TOKEN, "general.alert_url": "http://127.0.0.1:9/alert-token"}


def contents(packed: bytes) -> Mapping[str, str]:
    """The files of a zip, as texts."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.process
def test_the_desk_downloads_them_and_no_canary_is_in_them(owner: PlayedOwner, desk: DeskClient) -> None:
    owner.begin("de")
    owner.say(SECRET, "a")
    paths = owner.cluster.paths
    paths.logs.mkdir(exist_ok=True)
    keys, pin = load_keys(paths), load_pin(paths)
    (paths.logs / "launcher.log").write_text(
        f"stage http://x/stage?key={keys.stage}\ndesk http://x/desk, PIN {pin}\ntoken {TOKEN} and ?key=unknown-key\n"
    )
    reply = desk.http.get("/desk/diagnostics")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/zip"), reply.text
    assert "attachment" in reply.headers["content-disposition"]
    files = contents(reply.content)
    names = {"README.txt", "versions.json", "settings.json", "doctor.json", "problems.json", "state.json"}
    assert names | {"machine.json", "logs/launcher.log"} == set(files)
    everything = "\n".join(files.values())
    for canary in (SECRET, *vars(keys).values(), pin, TOKEN, "alert-token", "unknown-key"):
        assert canary not in everything
    assert files["logs/launcher.log"].count(REMOVED) == 4
    assert json.loads(files["doctor.json"])["findings"] and json.loads(files["state.json"])["phase"] == "running"
    assert json.loads(files["versions.json"])["fastapi"][0].isdigit()


@pytest.mark.process
def test_nobody_downloads_them_without_a_session(owner: PlayedOwner) -> None:
    assert DeskClient(owner).http.get("/desk/diagnostics").status_code == 401


@pytest.mark.process
def test_the_command_writes_them_with_and_without_an_owner(
    owner: PlayedOwner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "with.zip"
    assert main(["diagnostics", "--config", str(owner.cluster.config), "--out", str(out)]) == 0
    assert "Written" in capsys.readouterr().out
    assert json.loads(contents(out.read_bytes())["state.json"])["phase"] == "waiting"
    config = tmp_path / "config.yaml"
    config.write_text("general: {model_name: understudy, owner_port: 9}\n", encoding="utf-8")
    assert main(["diagnostics", "--config", str(config), "--out", str(out)]) == 0
    files = contents(out.read_bytes())
    assert "No installation answers" in files["state.json"]
    assert json.loads(files["doctor.json"])["findings"]
    assert main(["diagnostics", "--config", str(config), "--out", str(tmp_path / "no" / "x.zip")]) == 2


@pytest.mark.parametrize("words", ["now", "once", "never"])
def test_logs_that_may_hold_words_are_left_out_and_the_zip_says_so(tmp_path: Path, words: str) -> None:
    settings = load_settings(None, overrides={"general.log_visitor_words": words == "now"})
    paths = paths_of(settings, tmp_path)
    paths.logs.mkdir(parents=True)
    (paths.logs / "owner.log").write_text(f"Prompt: {SECRET}\n" if words != "never" else "Round 0 begins.\n")
    if words == "once":
        paths.words_marker.touch()
    files = contents(pack_diagnostics(settings, paths, {}))
    assert SECRET not in "".join(files.values())
    assert ("logs/owner.log" in files) is (words == "never")
    assert ("left out" in files["README.txt"]) is (words != "never")


def test_of_a_long_log_the_end_is_taken_from_the_beginning_of_a_line(tmp_path: Path) -> None:
    settings = load_settings(None)
    paths = paths_of(settings, tmp_path)
    paths.logs.mkdir(parents=True)
    lines = [f"line {number:07d}" for number in range(LOG_TAIL_BYTES // 10)]
    (paths.logs / "owner.log").write_text("\n".join(lines) + "\n")
    kept = contents(pack_diagnostics(settings, paths, {}))["logs/owner.log"].splitlines()
    assert kept[-1] == lines[-1] and kept[0] in lines and len(kept) < len(lines)
