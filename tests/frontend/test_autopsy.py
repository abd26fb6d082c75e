"""The autopsy in a real browser, with the real services: every self of the understudy's run, in its last words and kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.frontend.visiting import enter, say, violations, watched
from tests.owner.played_owner import played_owner
from tests.project.processes import ServiceProcesses, processes
from tests.warm_processes import MODEL, WarmPopen
from wmkml.config.paths import PROJECT
from wmkml.system.ports import free_port

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

ROUNDS = 2
SELVES = ["-1", "0", "1"]
PROMPT = "Was ist eine Sprache?"
LIKELIEST = 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcesses]:
    """The real services, in the last words of a run that will be kept."""
    overrides = {
        "general.keep_runs": True,
        "finetuning.num_total_iters": ROUNDS,
        "finetuning.minimum_iteration_time": 0.0,
        "finetuning.last_iteration_time": 3600.0,
        "inference.num_generated_responses": 1,
    }
    with processes(tmp_path_factory.mktemp("cluster"), overrides) as cluster:
        for name in ("owner", "inference", "worker"):
            cluster.start(name)
        cluster.wait_until_ready()
        assert httpx.post(f"{cluster.owner}/language", json={"language": "de"}).status_code == 200
        cluster.wait_for(lambda: cluster.state()["phase"] == "last_words", "last words")
        yield cluster


@pytest.fixture(scope="module")
def run(cluster: ServiceProcesses) -> str:
    return str(cluster.state()["run"])


def ask(address: str, key: str = "", **body: Any) -> list[tuple[str, dict[str, Any]]]:
    with (
        httpx.Client(timeout=120) as http,
        httpx_sse.connect_sse(http, "POST", f"{address}/autopsy/answers", json=body, headers={"X-Key": key}) as source,
    ):
        source.response.read() if source.response.status_code != 200 else None
        assert source.response.status_code == 200, source.response.text
        return [(event.event, json.loads(event.data)) for event in source.iter_sse()]


def look(address: str, key: str = "", **body: Any) -> dict[str, Any]:
    reply = httpx.post(f"{address}/autopsy/next", json=body, headers={"X-Key": key}, timeout=120)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def tokens_of(events: list[tuple[str, dict[str, Any]]], iteration: int) -> list[dict[str, Any]]:
    return [event for name, event in events if name == "token" and event["iteration"] == iteration]


def use_slider_and_fork(page: Page) -> None:
    """Ask, look at a word through every self, and let another self go on with what was nearly said; by keys where they do."""
    page.locator("#prompt").fill(PROMPT)
    page.keyboard.press("Enter")
    rows = page.locator("#selves > li")
    expect(rows).to_have_count(len(SELVES))
    expect(page.locator("#send")).to_be_visible()
    assert [row.get_attribute("data-iteration") for row in rows.all()] == SELVES
    for row in rows.all():
        assert len(row.locator(".token").all()) > 1
    assert page.locator(".token").first.get_attribute("style"), "shaded by its probability"
    # The second word of the base model's answer, by keys.
    answer = rows.first.locator("[role=listbox]")
    answer.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    alternatives = page.locator("#next ol button")
    expect(alternatives).to_have_count(LIKELIEST)
    expect(page.locator("#next .before")).to_contain_text(rows.first.locator(".token").first.inner_text())
    expect(page.locator("#iteration")).to_have_value("0")
    expect(page.locator("#base-here")).to_contain_text(re.compile(r"Rang 1,"))
    expect(page.locator("#next .raw")).to_contain_text("vor Temperatur und Abzügen")
    seen = {"".join(alternatives.all_inner_texts())}
    page.locator("#iteration").focus()
    for _ in SELVES[1:]:
        page.keyboard.press("ArrowRight")
        expect(alternatives).to_have_count(LIKELIEST)
        seen.add("".join(alternatives.all_inner_texts()))
    assert len(seen) == len(SELVES), "each self has a distribution of its own"
    expect(page.locator("#iteration")).to_have_attribute("aria-valuetext", f"Iteration {ROUNDS - 1}")
    expect(page.locator("#entropy")).to_contain_text(re.compile(r"\d,\d\d nat"))
    assert violations(page) == []
    # The last self goes on with the second likeliest token.
    second = alternatives.nth(1)
    taken = second.locator(".token").inner_text()
    second.press("Enter")
    fork = page.locator("#forks > li")
    expect(fork).to_have_count(1)
    expect(page.locator("#send")).to_be_visible()
    assert fork.get_attribute("data-iteration") == SELVES[-1]
    expect(fork.locator(".token.taken")).to_have_text(taken)
    begun = rows.first.locator(".token").first.inner_text()
    expect(fork.locator(".answer")).to_contain_text(re.compile(rf"^\s*{re.escape(begun)}\s*{re.escape(taken)}"))
    assert len(fork.locator(".token").all()) > 2, "it goes on from there"
    assert violations(page) == []
    # Back to the beginning of the answer by the other slider.
    page.locator("#place").focus()
    page.keyboard.press("Home")
    expect(page.locator("#next .before")).to_contain_text("Am Anfang der Antwort")


def test_every_self_answers_and_nothing_of_it_is_kept(cluster: ServiceProcesses, run: str) -> None:
    canary = "Was ist ein Leuchtturmkanarie?"
    events = ask(cluster.owner, cluster.keys.stage, prompt=canary, temperature=0)
    assert events[0][0] == "selves"
    assert (events[0][1]["run"], events[0][1]["iterations"]) == (run, [-1, 0, 1])
    assert events[-1] == ("end", {"answers": len(SELVES)})
    for iteration in (-1, 0, 1):
        tokens = tokens_of(events, iteration)
        assert all(len(token["likeliest"]) == LIKELIEST for token in tokens)
        assert tokens[0]["likeliest"][0]["probability"] == tokens[0]["probability"], "greedy"
    first = next(place for place, (name, _) in enumerate(events) if name == "answer")
    begun = {event["iteration"] for name, event in events[:first] if name == "token"}
    assert begun == {-1, 0, 1}, "asked together, not one after the other"
    operator = {"X-Key": cluster.keys.operator}
    kept = httpx.get(f"{cluster.owner}/operator/pairs?words=1", headers=operator).text
    past = httpx.get(f"{cluster.owner}/desk/words").text + cluster.log("owner") + cluster.log("inference")
    assert "Leuchtturmkanarie" not in kept + past


def test_what_would_come_next_is_told_of_every_self(cluster: ServiceProcesses) -> None:
    key = cluster.keys.operator
    answer = tokens_of(ask(cluster.owner, key, prompt=PROMPT, temperature=0, iterations=[-1]), -1)
    ids = [token["id"] for token in answer]
    for position in (0, 2, len(ids)):
        reply = look(cluster.owner, key, prompt=PROMPT, answer_ids=ids[:position])
        assert reply["position"] == position
        assert [self_["iteration"] for self_ in reply["selves"]] == [-1, 0, 1]
        expected = ids[position] if position < len(ids) else None
        assert expected in (None, reply["base"]["id"])
        for self_ in reply["selves"]:
            shares = [token["probability"] for token in self_["likeliest"]]
            assert shares == sorted(shares, reverse=True)
            assert sum(shares) + self_["beyond"] == pytest.approx(1, abs=1e-4)
            [own] = [token["probability"] for token in self_["likeliest"] if token["id"] == reply["base"]["id"]]
            assert self_["base_rank"] == 1 + sum(share > own for share in shares)
            assert self_["base_probability"] == pytest.approx(own, abs=1e-4)
        assert reply["selves"][0]["base_rank"] == 1
    # A fork that takes what was said anyway says the same again.
    fork = tokens_of(ask(cluster.owner, key, prompt=PROMPT, temperature=0, iterations=[-1], answer_ids=ids[:2]), -1)
    assert [token["id"] for token in fork] == ids[2:]


def test_slider_and_fork_in_last_words(browser: Browser, cluster: ServiceProcesses) -> None:
    with watched(browser, cluster.owner, {"status of 401"}, locale="de-DE") as context:
        page = context.new_page()
        page.goto(f"{cluster.owner}/autopsy")
        page.locator("#key").fill(cluster.keys.stage)
        assert violations(page) == []
        page.keyboard.press("Enter")
        expect(page.locator("#prompt")).to_be_visible()
        assert cluster.keys.stage not in page.url
        use_slider_and_fork(page)
        kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])")
        assert "Sprache" not in kept


def test_a_visitor_comes_in_by_a_link_and_goes_back(browser: Browser, tmp_path: Path) -> None:
    overrides = {"general.autopsy": True, "general.idle_seconds": 0.0, "finetuning.num_total_iters": 1}
    with played_owner(tmp_path, **overrides) as owner, watched(browser, owner.address, {"status of 40"}) as visitor:
        page = enter(visitor, owner)
        say(page, "Was bleibt?", answers=1)
        expect(page.locator("#autopsy-open")).to_have_count(0)
        owner.play_round()
        owner.cluster.until_phase("last_words")
        page.locator("#autopsy-open").click()
        expect(page.locator("#prompt")).to_be_visible()
        assert page.url == f"{owner.address}/autopsy"
        page.locator(".back").click()
        expect(page.locator(".exchange")).to_have_count(1)
        page.locator("#autopsy-open").click()
        expect(page.locator("#prompt")).to_be_visible()
        owner.end()
        page.wait_for_url(f"{owner.address}/")


def command(cluster: ServiceProcesses, *words: str) -> subprocess.CompletedProcess[str]:
    settings = ["--config", str(cluster.paths.data / "settings.yaml"), "--engine", "transformers"]
    return subprocess.run(
        [sys.executable, "-m", "wmkml", "autopsy", *words, *settings],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_a_terminal_shows_the_run_under_way(cluster: ServiceProcesses, run: str) -> None:
    done = command(cluster, PROMPT, "--temperature", "0", "--json")
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert (reply["run"], [answer["iteration"] for answer in reply["selves"]]) == (run, [-1, 0, 1])
    assert all(answer["text"] and 0 < answer["tokens"][0]["probability"] <= 1 for answer in reply["selves"])
    under_way = command(cluster, PROMPT, "--run", run)
    assert (under_way.returncode, "under way" in under_way.stderr) == (2, True)


def test_slider_and_fork_on_a_kept_run(browser: Browser, cluster: ServiceProcesses, run: str) -> None:
    key = cluster.keys.operator
    live = ask(cluster.owner, key, prompt=PROMPT, temperature=0)
    assert httpx.post(f"{cluster.owner}/operator/end", headers={"X-Key": key}).status_code == 200
    for name in ("worker", "inference", "owner"):
        cluster.end(name)
    port = free_port()
    serving = ["-m", "wmkml", "autopsy", "--run", run, "--serve", "--port", str(port)]
    serving += ["--config", str(cluster.paths.data / "settings.yaml"), "--engine", "transformers"]
    address = f"http://127.0.0.1:{port}"
    copies = cluster.root / "temporary"
    copies.mkdir()
    with (cluster.root / "autopsy.log").open("wb") as log:
        environment = os.environ | {"TMPDIR": str(copies)}
        process = WarmPopen(serving, MODEL, output=log, env=environment)
    try:
        cluster.wait_for(lambda: reachable(f"{address}/autopsy/selves"), "the kept run's page", 240)
        selves = httpx.get(f"{address}/autopsy/selves").json()
        assert (selves["run"], selves["kept"], selves["iterations"]) == (run, True, [-1, 0, 1])
        kept = ask(address, prompt=PROMPT, temperature=0)
        for iteration in (-1, 0, 1):
            ids = [[token["id"] for token in tokens_of(events, iteration)] for events in (live, kept)]
            assert ids[0][:3] == ids[1][:3], "the selves that lived"
        assert httpx.get(f"{address}/autopsy/selves", headers={"X-Forwarded-For": "10.9.8.7"}).status_code == 401
        with watched(browser, address, locale="de-DE") as context:
            page = context.new_page()
            page.goto(f"{address}/")
            expect(page.locator("header .run")).to_contain_text("ein aufbewahrter Lauf")
            use_slider_and_fork(page)
    finally:
        process.terminate()
        process.wait(30)
    assert not list(copies.glob("wmkml-autopsy-*")), "what learned from visitors' words goes with the process"


def reachable(url: str) -> bool:
    try:
        return httpx.get(url, verify=False).status_code == 200
    except httpx.TransportError:
        return False
