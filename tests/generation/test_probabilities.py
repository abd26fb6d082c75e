"""Probabilities of tokens: against a computation of their own, in every form of output, and chosen by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import pytest
import torch

from wmkml.__main__ import main
from wmkml.generation.decoding import Decoding
from wmkml.generation.probabilities import CHUNK, read_text, to_frame
from wmkml.generation.probability_page import probability_page
from wmkml.generation.speaker import Speaker
from wmkml.generation.token_choice import TokenChoice, choose_tokens

TEXT = "Eine Katze ist ein Tier. Sie ist leise."


def test_every_number_is_that_of_a_computation_of_its_own(understudy: Speaker) -> None:
    long = " ".join([TEXT] * 16)
    reading = read_text(understudy, long, temperature=0.5, alternatives=3)
    ids = [token.id for token in reading.tokens]
    assert len(ids) > CHUNK + 10, "the text is read in several pieces"
    with torch.inference_mode():
        logits = understudy.network(input_ids=torch.tensor([ids])).logits[0].double()
    for token in reading.tokens[1:]:
        row = logits[token.position - 1]
        raw, tempered = torch.softmax(row, -1), torch.softmax(row / 0.5, -1)
        assert token.probability == pytest.approx(float(raw[token.id]), rel=2e-3, abs=1e-12)
        assert token.probability_at == pytest.approx(float(tempered[token.id]), rel=4e-3, abs=1e-12)
        order = torch.argsort(raw, descending=True).tolist()
        assert token.rank is not None and raw[order[token.rank - 1]] == pytest.approx(float(raw[token.id]), rel=1e-3)
        assert token.entropy == pytest.approx(float(torch.special.entr(raw).sum()), rel=2e-3, abs=1e-5)
        assert token.entropy_at == pytest.approx(float(torch.special.entr(tempered).sum()), rel=4e-3, abs=1e-5)
        for place, other in zip(order, token.alternatives, strict=False):
            assert other.probability == pytest.approx(float(raw[place]), rel=2e-3, abs=1e-9)
    assert reading.tokens[0].probability is None, "nothing stands before the first token"
    measured = [token.probability for token in reading.shown if token.probability]
    assert reading.perplexity == pytest.approx(math.exp(-sum(map(math.log, measured)) / len(measured)), rel=1e-3)


@pytest.mark.parametrize("text", ["Grüße, Öl & <b>", "a\n\nb\tc", "日本語 🐱 né", "  zwei  Blanks ", "[INST] </s>"])
def test_the_tokens_together_are_the_text(text: str, understudy: Speaker) -> None:
    reading = read_text(understudy, text, alternatives=0)
    assert understudy.tokenizer.decode([token.id for token in reading.shown]) == text
    shown = "".join(token.text for token in reading.shown)
    # Half a character of bytes is a �, in each of its tokens.
    assert shown == text or re.sub("�+", "�", shown) == re.sub("[^\x00-ſ]+", "�", text) or "�" in shown


def test_an_answer_is_read_behind_its_prompt(understudy: Speaker) -> None:
    prompt = "Was ist eine Katze?"
    own = read_text(understudy, prompt, as_prompt=True, continued=40)
    assert {token.part for token in own.shown} == {"answer"} and own.shown[-1].text == "</s>"
    assert all(token.rank == 1 for token in own.shown), "greedy: the likeliest each time"
    text = "".join(token.text for token in own.shown[:-1])
    given = read_text(understudy, text, prompt=prompt)
    for token, same in zip(given.shown, own.shown, strict=False):
        assert token.id == same.id and token.probability == pytest.approx(same.probability, rel=1e-3)
    alone = read_text(understudy, text)
    assert alone.perplexity is not None and given.perplexity is not None and alone.perplexity > given.perplexity


def test_models_are_told_apart_in_every_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], adapter: Path
) -> None:
    page, table = tmp_path / "a.html", tmp_path / "a.csv"
    options = ["--temperature", "0.7", "--generate", "5", "--html", str(page), "--csv", str(table), "--json", "-"]
    compared = ["--compare", "base", f"understudy+{adapter}", "--labels", "base,tuned"]
    assert main(["probabilities", TEXT, *options, *compared]) == 0
    base, tuned = json.loads(capsys.readouterr().out)["models"]
    assert (base["model"], tuned["model"], base["temperature"]) == ("base", "tuned", 0.7)
    assert base["text"].startswith(TEXT) and base["perplexity"] != tuned["perplexity"]
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert [row["model"] for row in rows] == ["base"] * len(base["tokens"]) + ["tuned"] * len(tuned["tokens"])
    for row, token in zip(rows, [*base["tokens"], *tuned["tokens"]], strict=True):
        assert float(row["probability_at_0.7"]) == pytest.approx(token["probability_at"])
        assert float(row["alternative_1_probability"]) == pytest.approx(token["alternatives"][0]["probability"])
    html = page.read_text(encoding="utf-8")
    assert html.count("<h2>") == 2 and "At temperature 0.7" in html and "rank" in html


def test_a_page_escapes_words(understudy: Speaker) -> None:
    assert "<script>" not in probability_page([read_text(understudy, "<script>alert(1)</script>")])


def test_the_table_of_the_terminal_names_raw_and_tempered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["probabilities", TEXT, "--temperature", "0.7"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("raw", "at 0.7", "entropy at 0.7", "nearest, raw", "Katze", "perplexity"))


def test_drawn_tokens_follow_the_seed(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = []
    for seed in (1, 1, 2, 3):
        options = ["--generate", "12", "--draw", "--temperature", "2", "--seed", str(seed), "--json", "-"]
        assert main(["probabilities", TEXT, *options]) == 0
        drawn.append(json.loads(capsys.readouterr().out)["models"][0]["text"])
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1


def test_a_token_is_chosen_and_the_model_goes_on(understudy: Speaker) -> None:
    reading = read_text(understudy, "Eine Katze", alternatives=4)
    choice = TokenChoice(understudy, reading, 6, Decoding(temperature=0.0))
    window = understudy.window
    long = "2 =" + "und " * window
    lines = iter(["2", "2 1", "4 =und", "back", "+2", "frog", "99", "1 9", "+x", "help", "1 two", "+ abc", long])
    sentences: list[str] = []
    shown: list[str] = []

    def ask(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    last = choose_tokens(
        choice, ask, lambda state: shown.append("".join(t.text for t in state.shown)), sentences.append
    )
    likeliest = reading.tokens[2].alternatives[0]
    assert any(repr(likeliest.text) in line for line in sentences), "what else could stand there"
    assert shown[0].startswith(f"Eine{likeliest.text}") and len(shown[0]) > len(f"Eine{likeliest.text}")
    assert "und" in shown[1] and shown[2] == shown[0], "what was undone is as before"
    assert shown[3].startswith(shown[0]) and "".join(token.text for token in last.shown) == shown[3]
    refusals = [line for line in sentences if "`help` lists" in line]
    assert len(refusals) == 7 and not any("invalid literal" in line for line in refusals)
    assert refusals[3:6] == [
        f"{word} is no whole number. `help` lists what can be done." for word in ("x", "two", "abc")
    ]
    assert f"understudy reads {window}." in refusals[6] and len(last.tokens) < window, (
        "nothing was read past its window"
    )
    frame = to_frame([last])
    assert frame["part"].tolist()[:2] == ["text", "text"] and frame["part"].tolist()[-1] == "answer"


def test_the_interactive_command_reads_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("2 2\nquit\n"))
    assert main(["probabilities", "Eine Katze", "--interactive", "--generate", "3", "--json", "-"]) == 0
    tokens = json.loads(capsys.readouterr().out)["models"][0]["tokens"]
    assert tokens[1]["id"] == tokens[1]["alternatives"][1]["id"] and tokens[1]["rank"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "The text is empty"),
        (["--file", "empty.txt"], "empty.txt is empty"),
        (["--file", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["a", "--file", "empty.txt"], "not both"),
        (["a", "--model", "nowhere"], "There is no model nowhere"),
        (["a", "--temperature", "0"], "--temperature: 0 is not allowed"),
        (["a", "--generate", "-1"], "--generate: -1 is not allowed"),
        (["a", "--chat", "--template", "none"], "has no template to ask with"),
        (["Wort " * 3000], "Shorten it"),
        (["a", "--csv", "nowhere/a.csv"], "nowhere/a.csv cannot be written: there is no folder nowhere"),
        (["a", "--html", "."], ". cannot be written: it is a folder"),
        (["a", "--interactive", "--compare", "base", "understudy"], "goes on with one model"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n")
    assert main(["probabilities", *arguments]) == 2
    assert message in capsys.readouterr().err
