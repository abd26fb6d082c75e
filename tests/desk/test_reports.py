"""Reports of runs that end, at the desk: without a word unless the run is kept, drawn apart, and given to nobody but the operator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.desk.operator import SECRET, DeskClient, at_the_desk
from tests.frontend.visiting import chromium, violations, watched
from tests.owner.played_owner import KEPT_ANSWER, PlayedOwner, played_owner
from tests.waiting import until
from wmkml.access.pin import load_pin
from wmkml.protocol.middleware.no_store import NO_STORE
from wmkml.reports.folder import REPORT_FILES
from wmkml.reports.texts import TEXTS

pytestmark = pytest.mark.process

BACKGROUND_ANSWER = r"Antwort \d+\.\d+ von "
"""What the stand-in of inference answers to the persistent prompt and in echoes."""


@pytest.fixture(scope="module")
def owner_settings() -> dict[str, Any]:
    return {"general.keep_reports": 1, "finetuning.lease_seconds": 900.0}


@pytest.fixture(scope="module")
def reported(shared_owner: PlayedOwner) -> str:
    """The name of a run in which a visitor spoke and an iteration answered; it is over, and its report is drawn."""
    return drawn(shared_owner, play_run(shared_owner))


def play_run(owner: PlayedOwner) -> str:
    """Play a run in which a visitor speaks and an iteration answers, to its end; returns its name."""
    owner.answer_at_once()
    owner.begin("de")
    name = str(owner.cluster.state()["run"])
    owner.say(SECRET, "s1")
    owner.play_round()
    for _ in range(3):  # fewer answers of an iteration are not measured
        owner.say(SECRET, "s1")
    owner.end()
    return name


def drawn(owner: PlayedOwner, name: str) -> str:
    """Wait for a run's report; returns the run's name."""
    page = owner.cluster.paths.reports / name / "report.html"
    until(page.is_file, f"the report of {name}; {owner.cluster.log}")
    return name


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_that_ends_leaves_its_numbers_and_no_word(
    shared_owner: PlayedOwner, reported: str, desk: DeskClient
) -> None:
    folder = shared_owner.cluster.paths.reports / reported
    assert not (shared_owner.cluster.paths.runs / reported / "run.sqlite").exists(), "the run itself is deleted"
    everything = content(shared_owner.cluster.paths.reports)
    for words in (SECRET, KEPT_ANSWER, "Haus"):
        assert words.encode() not in everything
    assert not re.search(BACKGROUND_ANSWER.encode(), everything)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Menschen sprachen 4 Mal mit ihr, an 1 Station." in page
    assert TEXTS["de"]["only_numbers"] in page
    newest = desk.http.get("/desk/reports").raise_for_status().json()
    assert newest["count"] == len(newest["reports"]) == 1
    [report] = newest["reports"]
    assert (report["run"], report["rounds"], report["words"]) == (reported, 1, False)
    assert report["files"] == list(REPORT_FILES)
    for name, media_type in REPORT_FILES.items():
        reply = desk.http.get(f"/desk/reports/{reported}/{name}").raise_for_status()
        assert reply.headers["cache-control"] == NO_STORE
        assert reply.headers["content-type"] == media_type
        assert reply.content == (folder / name).read_bytes()
        assert "script-src" not in reply.headers["content-security-policy"]


def test_only_a_reports_own_files_are_given_and_only_at_the_desk(
    shared_owner: PlayedOwner, reported: str, desk: DeskClient
) -> None:
    above = shared_owner.cluster.paths.data / "report.json"
    above.write_text(json.dumps({"key": shared_owner.cluster.keys.operator}), encoding="utf-8")
    wrong = (
        "%2e%2e/report.json",
        f"{reported}/nothing.html",
        f"{reported}/..%2f..%2fkeys.json",
        f"..%2f{reported}/report.html",
        "../keys.json",
        "%2e%2e/keys.json",
        "..%5c/report.json",
        f"{reported}%00/report.html",
        ".new-x/report.json",
        f"{shared_owner.cluster.paths.reports / reported}/report.json".replace("/", "%2f", 1),
    )
    for path in wrong:
        reply = desk.http.get(f"/desk/reports/{path}")
        assert reply.status_code == 404, path
        assert shared_owner.cluster.keys.operator not in reply.text
    above.unlink()
    for path in ("reports", f"reports/{reported}/report.html", "archive"):
        assert httpx.get(f"{shared_owner.address}/desk/{path}").status_code == 401


def test_the_operator_opens_report_and_archive_from_the_desk(browser: Any, owner: PlayedOwner, reported: str) -> None:
    with watched(browser, owner.address, locale="de-DE") as context:
        page = context.new_page()
        page.goto(f"{owner.address}/desk")
        page.get_by_label("PIN").fill(load_pin(owner.cluster.paths))
        page.keyboard.press("Enter")
        with context.expect_page() as opening:
            page.locator(f"[data-report='{reported}'] a").click()
        report = opening.value
        expect(report.get_by_role("heading", level=1)).to_have_text(TEXTS["de"]["report"])
        expect(report.locator("svg.chart").first).to_be_visible()
        assert violations(report) == []
        with context.expect_page() as opening:
            page.get_by_role("link", name="Archiv aller Läufe (1)").click()
        archive = opening.value
        expect(archive.locator("svg.spark").first).to_be_visible()
        assert violations(archive) == []
        archive.get_by_role("link", name="English").click()
        expect(archive.get_by_role("heading", level=1)).to_have_text(TEXTS["en"]["archive"])
        archive.get_by_role("link", name=f"Report: {reported}").click()
        expect(archive.locator("#story")).to_be_visible()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def test_where_no_report_can_be_written_the_run_ends_all_the_same_and_the_operator_is_told(
    tmp_path: Path,
) -> None:
    with played_owner(tmp_path, **{"general.keep_reports": 2}) as owner:
        owner.cluster.paths.reports.write_text("a file stands where the folder should be")
        owner.begin("de")
        name = owner.cluster.state()["run"]
        owner.say(SECRET, "s1")
        owner.end()
        assert any(f"no report of run {name}" in notice for notice in owner.cluster.state()["notices"])
        assert not (owner.cluster.paths.runs / name / "run.sqlite").exists()
        owner.begin("en")


def test_a_run_that_is_kept_has_its_answers_in_its_report_and_a_silent_one_has_none(tmp_path: Path) -> None:
    with played_owner(tmp_path, **{"general.keep_reports": 2, "general.keep_runs": True}) as owner:
        owner.begin("de")
        owner.end()
        name = drawn(owner, play_run(owner))
        page = (owner.cluster.paths.reports / name / "report.html").read_text(encoding="utf-8")
        assert TEXTS["de"]["has_words"] in page
        assert re.search(BACKGROUND_ANSWER, page), "the base model's answer to the persistent prompt"
        assert SECRET.encode() not in content(owner.cluster.paths.reports), "nobody's prompt is in it"
        assert [path.name for path in owner.cluster.paths.reports.iterdir()] == [name]
        with at_the_desk(owner) as desk:
            assert desk.http.get("/desk/reports").json()["reports"][0]["words"]


def test_what_was_not_drawn_is_drawn_at_the_next_start_and_the_newest_stays(
    shared_owner: PlayedOwner, reported: str
) -> None:
    reports = shared_owner.cluster.paths.reports
    shared_owner.kill()
    (reports / reported / "report.html").unlink()
    shared_owner.start()
    drawn(shared_owner, reported)
    # The module's last test: what is drawn of this run ends with the owner.
    newest = play_run(shared_owner)
    until(lambda: [path.name for path in reports.iterdir()] == [newest] != [reported], "the oldest to go")
