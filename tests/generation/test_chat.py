"""`python -m wmkml chat`: a conversation that is remembered, its commands, and what is left of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.corpora import read
from wmkml.generation.conversation import HELP, SETTINGS, TerminalTalk
from wmkml.generation.decoding import Decoding
from wmkml.generation.few_shot import load_few_shot
from wmkml.generation.speaker import Speaker

CAT, DOG = "Was ist eine Katze?", "Und der Hund?"


def test_lines_are_answered_and_nothing_else_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "talk.jsonl"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{CAT}\n\n{DOG}\n/history\n"))
    assert main(["chat", "--temperature", "0", "--json", str(out)]) == 0
    printed = capsys.readouterr()
    messages = json.loads(out.read_text(encoding="utf-8"))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert printed.out.splitlines() == [message["content"] for message in messages if message["role"] == "assistant"]
    assert f"user: {CAT}" in printed.err
    (first, second) = read(out).pairs()
    assert (first.prompt, second.prompt, len(second.context)) == (CAT, DOG, 2), "it is words to train on"


def test_commands(understudy: Speaker, tmp_path: Path) -> None:
    sentences: list[str] = []
    talk = TerminalTalk(understudy, Decoding(temperature=1.5, seed=1), tell=sentences.append)
    assert all(talk.hear(line) for line in (CAT, DOG))
    before = list(talk.turns)
    assert talk.hear("/undo") and talk.turns == before[:2]
    assert talk.hear(DOG) and talk.turns == before, "the seed gives the same answer again"
    assert talk.hear("/again") and talk.turns[:3] == before[:3] and talk.decoding.seed == 2
    assert talk.hear("/set temperature 0") and talk.decoding.chosen_temperature == 0
    assert talk.hear("/system You provide concise answers in english") and talk.hear("/clear") and talk.hear(CAT)
    assert "cat" in talk.turns[-1]["content"] and talk.messages()[0]["role"] == "system"
    assert talk.hear(f"/save {tmp_path / 'a.json'}") and json.loads((tmp_path / "a.json").read_text())["messages"]
    refused = ["/set top_p 7", "/set beams many", "/set colour 1", "/set", "/dance", "/save", "/save /nowhere/a"]
    sentences.clear()
    assert all(talk.hear(line) for line in refused) and len(sentences) == len(refused)
    assert talk.hear("/help") and sentences[-1] == HELP and all(name in HELP for name in SETTINGS)
    assert not talk.hear("/quit")


def test_answers_of_beams_are_printed_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{CAT}\n"))
    assert main(["chat", "--beams", "2", "--max-tokens", "12"]) == 0
    beams = capsys.readouterr().out
    assert main(["generate", CAT, "--beams", "2", "--max-tokens", "12"]) == 0
    assert beams == capsys.readouterr().out and beams.strip()


def test_a_person_can_act_for_the_model(understudy: Speaker) -> None:
    """ReAct: the examples stand before the conversation, and an observation is a turn of it."""
    few_shot = load_few_shot("react-en")
    talk = TerminalTalk(understudy, Decoding(temperature=0, max_tokens=12, stop=few_shot.stop), few_shot=few_shot)
    replies: list[str] = []
    talk.on_reply = lambda reply: replies.append(reply.prompt)
    talk.hear(few_shot.prompts[0])
    talk.hear("Observation: in 1797.")
    assert replies == [few_shot.prompts[0], "Observation: in 1797."] and len(talk.turns) == 4


def test_probabilities_can_be_shown(understudy: Speaker) -> None:
    talk = TerminalTalk(understudy, Decoding(temperature=0), tell=lambda text: None)
    readings: list[int] = []
    talk.on_reply = lambda reply: readings.append(len(reply.readings))
    talk.hear(CAT)
    talk.hear("/probabilities")
    talk.hear(CAT)
    assert readings == [0, 1]


def test_a_conversation_that_cannot_begin_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--model", "nowhere"]) == 2
    assert "There is no model nowhere" in capsys.readouterr().err
