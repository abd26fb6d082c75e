"""`python -m wmkml generate`: where prompts come from, how answers are drawn, who speaks, and what cannot be asked."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.finetuning.tiny_architectures import make_tiny
from wmkml.__main__ import main
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.dialogue.templates import has_template
from wmkml.generation.answering import answer, continue_ids
from wmkml.generation.comparison import Reply, ask, to_frame
from wmkml.generation.decoding import Decoding
from wmkml.generation.few_shot import load_few_shot, shipped_names, with_examples
from wmkml.generation.sources import SpeakerError, SpeakerSource, find_source, with_adapter
from wmkml.generation.speaker import Speaker, check_memory, load_speakers

CAT = "Was ist eine Katze?"
QUESTION = [{"role": "user", "content": CAT}]


def generated(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    """The JSON that the command prints."""
    assert main(["generate", *map(str, arguments), "--json", "-"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def texts(result: dict[str, Any]) -> list[str]:
    return [answer["text"] for entry in result["results"] for answer in entry["answers"]]


# How answers are drawn


@pytest.mark.slow
def test_a_seed_repeats_an_answer_and_the_answer_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    result = generated(capsys, CAT, "--seed", "4", "--temperature", "1.5")
    assert main(["generate", CAT, "--seed", "4", "--temperature", "1.5"]) == 0
    assert capsys.readouterr().out == texts(result)[0] + "\n"
    others = {texts(generated(capsys, CAT, "--seed", str(seed), "--temperature", "1.5"))[0] for seed in range(5, 9)}
    assert len(others) > 1, "another seed draws another answer"


def test_what_is_streamed_is_the_answer(understudy: Speaker) -> None:
    for seed in range(4):
        pieces: list[str] = []
        decoding = Decoding(temperature=1.4, top_p=1.0, seed=seed, max_tokens=40, stop=("ch", "ei"))
        (reply,) = answer(understudy, QUESTION, decoding, pieces.append)
        assert "".join(pieces) == reply.text
        assert "ch" not in reply.text and "ei" not in reply.text


def test_beams_find_at_least_as_likely_a_text_as_the_greedy_one(understudy: Speaker) -> None:
    def total(reply_ids: tuple[int, ...], prompt: tuple[int, ...]) -> float:
        ids = torch.tensor([[*prompt, *reply_ids]])
        with torch.inference_mode():
            logprobs = torch.log_softmax(understudy.network(input_ids=ids).logits[0].float(), -1)
        places = range(len(prompt) - 1, ids.shape[1] - 1)
        return float(sum(logprobs[place, ids[0, place + 1]] for place in places)) / len(reply_ids)

    (greedy,) = answer(understudy, QUESTION, Decoding(temperature=0.0))
    five = answer(understudy, QUESTION, Decoding(beams=5, count=5))
    assert len({reply.text for reply in five}) == 5
    scores = [total(reply.ids, reply.prompt_ids) for reply in five]
    assert scores == sorted(scores, reverse=True) and scores[0] >= total(greedy.ids, greedy.prompt_ids)


def test_no_pair_of_tokens_is_repeated(tmp_path: Path) -> None:
    (speaker,) = load_speakers([find_source(str(make_tiny("llama", tmp_path)))])

    def repeated(no_repeat_ngram: int) -> int:
        decoding = Decoding(
            temperature=1.0, top_p=1.0, top_k=2, max_tokens=200, seed=1, no_repeat_ngram=no_repeat_ngram
        )
        (reply,) = continue_ids(speaker, [5, 6, 7], decoding)
        pairs = list(zip(reply.ids, reply.ids[1:], strict=False))
        return len(pairs) - len(set(pairs))

    assert repeated(0) > 0 and repeated(2) == 0


def test_stop_words_and_ids_end_an_answer(capsys: pytest.CaptureFixture[str], understudy: Speaker) -> None:
    whole = texts(generated(capsys, CAT, "--temperature", "0"))[0]
    stopped = generated(capsys, CAT, "--temperature", "0", "--stop", "Tier")["results"][0]["answers"][0]
    assert (stopped["text"], stopped["finish"]) == (whole[: whole.index("Tier")], "stop")
    point = understudy.tokenizer.encode(".", add_special_tokens=False)[0]
    stopped = generated(capsys, CAT, "--temperature", "0", "--stop-id", str(point))["results"][0]["answers"][0]
    assert (stopped["text"], stopped["finish"]) == (whole[: whole.index(".")], "end")
    short = generated(capsys, CAT, "--temperature", "0", "--max-tokens", "3")["results"][0]["answers"][0]
    assert (short["tokens"], short["finish"]) == (3, "length")


def test_several_answers_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", CAT, "--n", "3", "--seed", "1", "--temperature", "1.2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in out] == ["[1] ", "[2] ", "[3] "]
    assert len({line[4:] for line in out}) > 1


# Where prompts come from


@pytest.mark.slow
def test_prompts_come_from_arguments_files_and_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prompts = [CAT, "Wo lebt der Wal?"]
    from_arguments = generated(capsys, *prompts, "--temperature", "0")
    (lines := tmp_path / "prompts.txt").write_text("\n".join([prompts[0], "", prompts[1]]) + "\n")
    (table := tmp_path / "prompts.csv").write_text("prompt\n" + "\n".join(prompts) + "\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(prompts)))
    sources: list[list[str | Path]] = [["--file", lines], ["--file", table], []]
    for arguments in sources:
        assert generated(capsys, *arguments, "--temperature", "0")["results"] == from_arguments["results"]
    assert main(["generate", *prompts, "--temperature", "0"]) == 0
    shown = capsys.readouterr().out.split("\n\n")
    assert [block.splitlines()[0] for block in shown] == [f"> {prompt}" for prompt in prompts]


def test_turns_of_a_conversation_are_remembered(capsys: pytest.CaptureFixture[str], understudy: Speaker) -> None:
    turns = [CAT, "Wo lebt sie?"]
    first, second = texts(generated(capsys, *turns, "--temperature", "0", "--chat"))
    messages = [*QUESTION, {"role": "assistant", "content": first}, {"role": "user", "content": turns[1]}]
    assert answer(understudy, messages, Decoding(temperature=0.0))[0].text == second
    assert texts(generated(capsys, turns[1], "--temperature", "0"))[0] != second


@pytest.mark.slow
def test_speakers_side_by_side_have_a_conversation_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, adapter: Path, tmp_path: Path
) -> None:
    heard: list[tuple[str, list[str]]] = []

    def listening(speaker: Speaker, messages: list[dict[str, str]], *others: Any, **named: Any) -> Reply:
        heard.append((speaker.label, [message["content"] for message in messages]))
        return ask(speaker, messages, *others, **named)

    monkeypatch.setattr("wmkml.generation.comparison.ask", listening)
    turns = [CAT, "Wo lebt sie?"]
    talk = [{"role": "user", "content": turns[0]}, {"role": "assistant", "content": "Ein Hut."}]
    talk += [{"role": "user", "content": turns[1]}, {"role": "assistant", "content": "Im Schrank."}]
    (path := tmp_path / "talk.jsonl").write_text(json.dumps({"messages": talk}) + "\n", encoding="utf-8")
    # Of a conversation in a file the prompts are the turns, and the answers that it holds are the speakers' to give.
    for prompts in (turns, ["--file", str(path)]):
        heard.clear()
        options = ["--chat", "--max-tokens", "8", "--compare", "base", str(adapter), "--labels", "base,tuned"]
        result = generated(capsys, *prompts, *options)
        answers = {entry["model"]: entry["answers"][0]["text"] for entry in result["results"][:2]}
        assert heard == [
            ("base", turns[:1]),
            ("tuned", turns[:1]),
            ("base", [turns[0], answers["base"], turns[1]]),
            ("tuned", [turns[0], answers["tuned"], turns[1]]),
        ]


@pytest.mark.slow
def test_what_is_piped_goes_before_the_prompts_that_examples_bring(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for piped, expected in ((f"{CAT}\n", [CAT]), ("", list(load_few_shot("react-en").prompts))):
        monkeypatch.setattr("sys.stdin", io.StringIO(piped))
        asked = generated(capsys, "--few-shot", "react-en", "--max-tokens", "4", "--temperature", "0")
        assert [entry["prompt"] for entry in asked["results"]] == expected


def test_a_system_prompt_is_asked_with(understudy: Speaker, capsys: pytest.CaptureFixture[str]) -> None:
    english = texts(generated(capsys, CAT, "--temperature", "0", "--system", "You provide concise answers in english"))
    assert "cat" in english[0]


@pytest.mark.parametrize("name", shipped_names())
def test_the_shipped_examples_fit_the_understudy(name: str, understudy: Speaker) -> None:
    few_shot = load_few_shot(name)
    assert len(few_shot.prompts) == 2 and sum(turn["role"] == "user" for turn in few_shot.messages) >= 2
    for prompt in few_shot.prompts:
        messages = with_examples([{"role": "user", "content": prompt}], few_shot)
        fitted = understudy.prompt_ids(messages, 64)
        assert fitted.dropped == 0
        text = understudy.tokenizer.decode(fitted.ids)
        assert all(turn["content"] in text for turn in messages), "examples and prompt stand in it as they are"


def test_examples_of_any_form_stand_before_the_prompt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert {name.rpartition("-")[0] for name in shipped_names()} == {"chain-of-thought", "react"}
    (pairs := tmp_path / "pairs.txt").write_text("Was ist ein Hund? # Wau.\nWas ist ein Wal? # Wau.\n" * 3)
    assert texts(generated(capsys, "Was ist eine Maus?", "--few-shot", pairs, "--temperature", "0"))
    asked = generated(capsys, "--few-shot", "react-en", "--max-tokens", "8", "--temperature", "0")
    assert [entry["prompt"] for entry in asked["results"]] == list(load_few_shot("react-en").prompts)
    assert "\nObservation:" in asked["settings"]["stop"]


# Who speaks


def test_an_adapter_speaks_in_the_template_it_was_taught_with(adapter: Path, understudy: Speaker) -> None:
    tuned, base = load_speakers([with_adapter("understudy", adapter, "tuned"), find_source("understudy", label="base")])
    text = tuned.tokenizer.decode(tuned.prompt_ids(QUESTION, 8).ids, skip_special_tokens=True)
    assert text == f"Anweisung: {CAT}\nAntwort:"
    assert base.prompt_ids(QUESTION, 8).ids == tuned.prompt_ids(QUESTION, 8).ids, "the untaught model is asked alike"
    assert understudy.prompt_ids(QUESTION, 8).ids != tuned.prompt_ids(QUESTION, 8).ids
    # Switching between them leaves neither changed.
    ids = torch.tensor([understudy.prompt_ids(QUESTION, 8).ids])
    logits: dict[str, list[torch.Tensor]] = {}
    for speaker in (base, tuned, base, understudy):
        with torch.inference_mode(), speaker.active() as network:
            logits.setdefault(speaker.label, []).append(network(input_ids=ids).logits)
    assert torch.equal(logits["base"][0], logits["base"][1])
    assert torch.equal(logits["base"][0], logits["understudy"][0])
    assert not torch.allclose(logits["tuned"][0], logits["base"][0], atol=0.1)


def test_models_stand_side_by_side(
    capsys: pytest.CaptureFixture[str], adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [CAT, "--seed", "1", "--compare", "base", f"understudy+{adapter}", "--labels", "base,tuned"]
    result = generated(capsys, *arguments)
    assert [entry["model"] for entry in result["results"]] == ["base", "tuned"]
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["generate", *arguments]) == 0
    out = capsys.readouterr().out
    header = next(line for line in out.splitlines() if "tuned" in line)
    assert header.index("base") < header.index("tuned")
    first = texts(result)[0]
    assert all(word in out for word in first.split())


@pytest.mark.parametrize("inner", ["", "adapter", "adapters/iteration-3-attempt-2"])
def test_a_folder_of_a_training_is_found(inner: str, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / inner).mkdir(parents=True, exist_ok=True)
    for file in adapter.iterdir():
        (tmp_path / inner / file.name).write_bytes(file.read_bytes())
    (tmp_path / "adapters" / "iteration-2-attempt-1").mkdir(parents=True)
    source = find_source(str(tmp_path))
    assert source == SpeakerSource(str(tmp_path), SHIPPED_MODEL.resolve(), tmp_path / inner if inner else tmp_path)
    assert has_template(source.adapter or tmp_path)


def test_probabilities_stand_beside_an_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    result = generated(capsys, CAT, "--seed", "1", "--probabilities")
    (reply,) = result["results"][0]["answers"]
    assert "".join(token["token"] for token in reply["probabilities"]).removesuffix("</s>") == reply["text"]
    assert main(["generate", CAT, "--seed", "1", "--probabilities"]) == 0
    out = capsys.readouterr().out
    assert "entropy at 0.7" in out and "Katze" in out


def test_answers_are_a_frame(understudy: Speaker) -> None:
    frame = to_frame([ask(understudy, QUESTION, Decoding(beams=2, count=2))])
    assert frame["number"].tolist() == [1, 2] and frame["model"].unique().tolist() == ["understudy"]


# What cannot be asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("x --model nowhere", "There is no model nowhere"),
        ("x --model org/name", "Fetch it: python -m wmkml download org/name"),
        ("x --adapter nowhere", "There is no folder nowhere"),
        ("x --adapter .", "holds no adapter"),
        ("x --compare base 'Was ist das?'", "It stands before --compare"),
        ("x --compare base base", "Tell them apart with --labels"),
        ("x --compare base understudy --labels a", "1 names for 2 models"),
        ("x --model broken", "broken holds no whole model"),
        ("x --model empty", "empty holds no whole model"),
        ("x --device toaster", "--device: toaster is not known"),
        ("x --quantize nf4 --device cpu", "--quantize nf4 needs an NVIDIA GPU, and this is cpu"),
        ("x --device cuda:7", "torch sees no cuda:7 on this machine; it has cpu"),
        ("x --template nowhere", "There is no template or file nowhere"),
        ("x --temperature -1", "--temperature: -1 is not allowed"),
        ("x --top-p 0", "--top-p: 0 is not allowed"),
        ("x --n 3 --temperature 0", "Give --temperature above 0, or --beams 3"),
        ("x --n 2 --chat", "--chat goes on with one answer"),
        ("x --stop ''", "an empty text would end every answer"),
        ("x --stop-id 5000", "--stop-id: 5000 is no token of understudy; it has 0 to 4095"),
        ("' '", "A prompt is empty"),
        ("x --file empty.txt", "not both"),
        ("--file empty.txt", "holds no prompt"),
        ("--file nowhere.jsonl", "There is no file or folder nowhere.jsonl"),
        ("x --few-shot nowhere", "one of: chain-of-thought-de"),
        ("x --few-shot turns.yaml", "turns.yaml: example 1, turn 2: expected assistant:"),
        ("x --json nowhere/a.json", "cannot be written"),
        ("'" + "Wort " * 2000 + "'", "at most"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "turns.yaml").write_text("examples: [[{user: a}, {user: b}]]")
    for name in ("broken", "empty"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "mistral"}')
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    assert main(["generate", *shlex.split(arguments)]) == 2
    assert message in capsys.readouterr().err


def test_what_does_not_fit_into_memory_is_said_before_it_is_read() -> None:
    cpu = torch.device("cpu")
    check_memory([SHIPPED_MODEL], 4, cpu)
    with pytest.raises(SpeakerError, match=r"take 0.016 GiB, and 0.01 GiB are free on cpu. --dtype bfloat16"):
        check_memory([SHIPPED_MODEL], 4, cpu, available=0.01)
    check_memory([SHIPPED_MODEL], 2, cpu, available=0.01)
