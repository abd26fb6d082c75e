"""The panel, asked by a real owner: when, how often and of whom, what becomes of it, and that only numbers leave."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.owner.inference_stand_in import ENTROPY
from tests.owner.owner_cluster import ROOT, OwnerCluster, owner_command, started_cluster
from tests.owner.round_clusters import run_folder
from tests.waiting import until
from wmkml.config.paths import SHIPPED_PANEL
from wmkml.measures.panel.measuring import PromptAnswers, measure_panel
from wmkml.measures.panel.prompts import panel_prompts, with_persistent

pytestmark = pytest.mark.process

SECRET = "Zwölfzylinder"
TEXTS = [
    f"Der Hund traf eines Tages den Regenschirm am {SECRET}.",
    "Es war einmal ein Hund, treu und wachsam. Da kam der Bäcker.",
    "Der Hund traf eines Tages den Bäcker. Da kam der Regen.",
    "Heute dachte ich an das Meer. Es ist weit und tief.",
]


def settings_of(cluster: OwnerCluster) -> list[str]:
    """The panel's prompts in German."""
    prompts = with_persistent(panel_prompts(SHIPPED_PANEL, "de"), cluster.settings.persistent_prompt("de"))
    return [prompt.text for prompt in prompts]


def asked(cluster: OwnerCluster, iteration: int) -> list[dict[str, Any]]:
    """The panel's requests to an iteration."""
    model = "understudy" if iteration < 0 else f"iteration-{iteration}"
    requests = cluster.stand_in_state()["requests"]
    return [request for request in requests if request["audience"] == "measure" and request["model"] == model]


def panel_measures(cluster: OwnerCluster) -> dict[str, float]:
    """What is measured of the panel's answers of the iteration that answers."""
    measured = cluster.state()["measured"] or {"values": {}}
    return {name: value for name, value in measured["values"].items() if name.startswith("panel_")}


def until_answered(cluster: OwnerCluster, share: float = 1.0) -> dict[str, float]:
    return until(
        lambda: values if (values := panel_measures(cluster)).get("panel_answered") == pytest.approx(share) else None,
        f"{share} of the panel",
    )


def measuring_processes(cluster: OwnerCluster) -> list[str]:
    """The owner's processes that measure panels."""
    assert cluster.owner_process is not None
    command = ["ps", "-o", "pid=,args=", "--ppid", str(cluster.owner_process.pid)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in lines if "panel.process" in line]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[OwnerCluster]:
    settings = {"inference.panel_answers": 8, "inference.temperature": 0.45, "inference.max_tokens": 66}
    with started_cluster(tmp_path, **settings) as cluster:
        cluster.behave(measured_texts=TEXTS)
        yield cluster


def test_every_iteration_is_asked_everything_and_only_numbers_leave(cluster: OwnerCluster) -> None:
    cluster.begin()
    values = until_answered(cluster)
    requests, prompts = asked(cluster, -1), settings_of(cluster)
    # Each prompt once before any is asked again, so that what is there at a swap is of all of them.
    assert [request["messages"][-1]["content"] for request in requests] == prompts * 2
    assert {(request["n"], request["temperature"], request["max_tokens"]) for request in requests} == {(4, 0.45, 66)}
    assert len(prompts) == 17 and prompts[-1] == cluster.settings.persistent_prompt("de")
    expected = {prompt.text: prompt.expected for prompt in panel_prompts(SHIPPED_PANEL, "de")}
    by_hand = measure_panel(
        [PromptAnswers((*TEXTS, *TEXTS), expected.get(prompt, ())) for prompt in prompts], "de", 8, 8
    )
    values.pop("panel_real_words", None)  # it comes later, once the dictionary is loaded
    assert values == pytest.approx(by_hand)
    assert {"panel_self_bleu", "panel_vendi", "panel_distinct_4", "panel_vocabulary", "panel_facts"} <= set(values)
    events = cluster.events()
    assert next(events).event == "state"
    job = cluster.claim()
    assert SECRET not in str(job["samples"])
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(0)
    until_answered(cluster)
    assert [request["messages"][-1]["content"] for request in asked(cluster, 0)] == prompts * 2
    assert cluster.pairs("persistent") and not [pair for pair in cluster.pairs() if SECRET in pair["answer"]]
    names = []
    for event in events:
        assert SECRET not in event.data
        names.append(event.event)
        if event.event == "measures" and '"iteration":0' in event.data and '"panel_answered":1.0' in event.data:
            break
    assert "token" not in names and "response" not in names
    for file in [cluster.log, *(path for path in run_folder(cluster).rglob("*") if path.is_file())]:
        assert SECRET.encode() not in file.read_bytes(), file
    assert len(measuring_processes(cluster)) == 2
    cluster.end()
    until(lambda: not measuring_processes(cluster), "the end of what measures")


def test_a_swap_drops_the_rest_and_what_is_complete_is_measured(cluster: OwnerCluster) -> None:
    prompts = settings_of(cluster)
    cluster.behave(keeps_back_prompt=prompts[11])
    cluster.begin()
    until(lambda: len(asked(cluster, -1)) == 12, "the prompt that is kept back")
    job = cluster.claim()
    assert panel_measures(cluster) == {}
    assert cluster.train(job)["accepted"]
    cluster.until_iteration(0)
    until(lambda: len(asked(cluster, 0)) == 12, "the next iteration's panel")
    lines = until(
        lambda: [line for line in (run_folder(cluster) / "measures.jsonl").read_text().splitlines() if "panel" in line],
        "the measures of what was answered",
    )
    assert len(lines) == 1 and '"iteration": -1' in lines[0] and f'"panel_answered": {11 * 4 / (17 * 8)}' in lines[0]
    assert "panel_self_bleu" in lines[0] and "panel_vocabulary" in lines[0]
    cluster.behave(keeps_back_prompt="")
    until_answered(cluster)
    assert len(asked(cluster, -1)) == 12, "nothing is asked of an iteration that answers no more"


def test_the_panel_goes_on_when_inference_is_back_and_anew_when_the_owner_is(cluster: OwnerCluster) -> None:
    prompts = settings_of(cluster)
    cluster.behave(keeps_back_prompt=prompts[3])
    cluster.begin()
    until(lambda: len(asked(cluster, -1)) == 4, "the prompt that is kept back")
    cluster.kill_inference()
    cluster.start_inference()
    cluster.behave(measured_texts=TEXTS, keeps_back_prompt=prompts[9])
    until(lambda: len(asked(cluster, -1)) == 7, "the panel to go on")
    assert [request["messages"][-1]["content"] for request in asked(cluster, -1)] == prompts[3:10]
    cluster.kill_owner()
    cluster.behave(keeps_back_prompt="")
    cluster.start_owner()
    until_answered(cluster)
    assert [request["messages"][-1]["content"] for request in asked(cluster, -1)[7:]] == prompts * 2
    count = len(asked(cluster, -1))
    cluster.kill_owner()
    cluster.start_owner()
    assert cluster.train(cluster.claim())["accepted"]
    until(lambda: asked(cluster, 0), "the next iteration's panel")
    assert len(asked(cluster, -1)) == count, "a panel that is measured is not asked again"


def test_a_panel_that_cannot_be_read_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("de: {creative: Hallo}", encoding="utf-8")
    cluster = OwnerCluster(tmp_path, **{"inference.panel_prompts": "mine.yaml", "inference.panel_answers": 2})
    refused = subprocess.run(owner_command(cluster.config), capture_output=True, text=True, cwd=ROOT, check=False)
    assert refused.returncode == 2
    assert f"{tmp_path / 'mine.yaml'}, de, creative: must be a list" in refused.stderr
    (tmp_path / "mine.yaml").write_text("de: {creative: [Hallo, Ade]}", encoding="utf-8")
    try:
        cluster.start()
        cluster.begin()
        until(lambda: len(asked(cluster, -1)) == 3, "the panel")
        prompts = [request["messages"][-1]["content"] for request in asked(cluster, -1)]
        assert prompts == ["Hallo", "Ade", cluster.settings.persistent_prompt("de")]
    finally:
        cluster.stop()


def test_running_answers_are_measured_every_second_and_no_panel_is_asked_where_none_is_wanted(tmp_path: Path) -> None:
    with started_cluster(tmp_path) as cluster:
        cluster.begin()
        sentence = ["Das ", "Meer ", "ist ", "weit", ". "]
        cluster.behave(words=sentence * 4, probabilities=[0.25])
        events = cluster.events()
        assert next(events).event == "state"
        for station in ("anna", "berta"):
            cluster.chat("Wie ist das Meer?", station=station)
        read = (json.loads(event.data)["values"] for event in events if event.event == "rolling")
        rolling = next(
            values for values in read if values["rolling_looping"] == pytest.approx(3 / 4)
        )  # none is cut off
        assert rolling == {
            "rolling_entropy": ENTROPY,
            "rolling_confidence": pytest.approx(0.25),
            "rolling_repetition": 0.0,
            "rolling_looping": pytest.approx(3 / 4),
        }
        state = cluster.state()
        assert {name: state["measures"][name] for name in rolling} == rolling
        gauge = f'wmkml_measure{{measure="rolling_looping"}} {rolling["rolling_looping"]}'
        assert gauge in cluster.owner.get("/metrics").text
        assert {f"/collapse/{name}" for name in rolling} <= set(cluster.osc_addresses())
        assert asked(cluster, -1) == []
