"""`wmkml analyse MODEL …`: which models it means, what fits into memory, the answers it makes, and the command itself."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.random_model import make_adapter, make_model
from tests.models.hub_stand_in import HubStandIn, serve
from wmkml.__main__ import main
from wmkml.adapters.files import WEIGHTS_FILE, sha256_of
from wmkml.config import load_settings
from wmkml.laboratory.analysis import loading, making
from wmkml.laboratory.analysis.answers import read_answers
from wmkml.laboratory.analysis.asking import MakingOptions, encode_prompt
from wmkml.laboratory.analysis.loading import (
    MemoryShortError,
    check_memory_before_download,
    check_memory_of,
    load_any_tokenizer,
    model_window,
)
from wmkml.laboratory.analysis.making import (
    AnswerFile,
    AnswersMismatchError,
    make_answers,
)
from wmkml.laboratory.analysis.next_token.comparison import compare_next_tokens
from wmkml.laboratory.analysis.next_token.measuring import NextTokenOptions, StateMismatchError
from wmkml.laboratory.analysis.next_token.tables import next_token_frame, rank_frame
from wmkml.laboratory.analysis.prompts import AskedPrompt, PromptsError, own_prompts, read_prompts, seen_prompts
from wmkml.laboratory.analysis.sources import ModelSource, SourceError, SourceOptions, resolve_sources
from wmkml.measures.facts import states_fact
from wmkml.runs.folder import adapter_folder, create_run
from wmkml.runs.schema import AcceptedAdapter
from wmkml.understudy.answering import MODEL_FOLDER

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model."""
    return make_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with iterations 0 and 2, and an adapter that was not accepted."""
    settings = load_settings(None, model=str(model))
    folder, store = create_run(tmp_path_factory.mktemp("runs"), "life", "en", settings)
    with closing(store):
        for iteration in (0, 2):
            adapter = make_adapter(model, adapter_folder(folder, iteration, 1), seed=iteration)
            digest = sha256_of(adapter / WEIGHTS_FILE)
            store.accept(AcceptedAdapter(iteration, f"/somewhere/else/{adapter.name}", digest, True))
    (folder / "adapters" / "iteration-1-attempt-1").mkdir()
    return folder


@pytest.fixture
def options(tmp_path: Path) -> SourceOptions:
    return SourceOptions(tmp_path / "models", tmp_path)


def test_what_names_mean(model: Path, run: Path, options: SourceOptions) -> None:
    names = ["understudy", str(model), str(run), f"{run}:2", str(adapter_folder(run, 0, 1))]
    labels = [f"m{number}" for number in range(7)]
    sources = resolve_sources(names, options, labels)
    assert [source.label for source in sources] == labels
    assert [source.folder for source in sources] == [MODEL_FOLDER, *[model] * 6]
    iterations = [None, None, -1, 0, 2, 2, None]
    assert [source.iteration for source in sources] == iterations
    adapters = [source.adapter and source.adapter.name for source in sources]
    zero, two = "iteration-0-attempt-1", "iteration-2-attempt-1"
    assert adapters == [None, None, None, zero, two, two, zero], "beside the run, though it was written elsewhere"
    assert [source.label for source in resolve_sources([str(run)], options)] == ["base", "iteration 0", "iteration 2"]
    assert sources[3].identity() != sources[4].identity() == sources[5].identity()


def test_a_model_of_the_hub_is_fetched_by_its_revision_into_a_folder_of_its_own(
    model: Path, run: Path, options: SourceOptions
) -> None:
    fetched = []

    def fetch(name: str, revision: str, folder: Path) -> None:
        fetched.append((name, revision, folder.name))
        folder.parent.mkdir(exist_ok=True)
        folder.symlink_to(adapter_folder(run, 0, 1) if name == "a/adapter" else model)

    with_hub = SourceOptions(options.models, options.root, fetch=fetch)
    for _ in range(2):
        sources = resolve_sources(["a/b", "a/b", "understudy"], with_hub, revisions=["step1", "step2/x", ""])
        assert [source.label for source in sources] == ["b@step1", "b@step2/x", "understudy"]
    assert fetched == [("a/b", "step1", "a--b@step1"), ("a/b", "step2/x", "a--b@step2--x")], "once each"
    for _ in range(2):
        (adapter,) = resolve_sources(["a/adapter"], with_hub, revisions=["v2"])
    assert (adapter.label, adapter.folder) == ("adapter@v2", model) and adapter.adapter is not None
    assert fetched[2:] == [("a/adapter", "v2", "a--adapter@v2")]


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["nowhere"], {}, "nowhere is no model: there is no such folder"),
        (["a/b"], {}, "a/b is not here"),
        (["{run}:1"], {}, "has no iteration 1; it has -1, 0, 2"),
        (["{model}:1"], {}, "is no run's folder"),
        (["{run}/.."], {}, "holds no model .* no adapter .* and no run"),
        (["{run}", "{run}"], {}, "Two models would be called 'base'"),
        (["{run}"], {"labels": ["a"]}, "1 names for 3 models"),
        (["{model}"], {"revisions": ["main"]}, "small is a folder here"),
        (["a/b", "a/c", "a/d"], {"revisions": ["x", "y"]}, "2 for 3 models"),
        (["{run}/adapters/iteration-1-attempt-1"], {}, "holds no model"),
    ],
)
def test_a_name_that_means_nothing_is_told(
    names: list[str], more: dict[str, Any], message: str, model: Path, run: Path, options: SourceOptions
) -> None:
    with pytest.raises(SourceError, match=message):
        resolve_sources([name.format(run=run, model=model) for name in names], options, **more)


def test_memory_is_reckoned_before_anything_is_loaded(model: Path) -> None:
    source = ModelSource("x", model)
    with pytest.raises(
        MemoryShortError, match=r"small needs about 0\.\d GiB .*weights 0\.0.* and 0\.2 are free on cpu"
    ):
        check_memory_of([source], CPU, torch.float32, tokens=1024, available=0.2)
    check_memory_of([source], CPU, torch.float32, tokens=1024, available=2.0)
    with pytest.raises(MemoryShortError):
        check_memory_of([source], CPU, torch.float32, tokens=1024, cached_tokens=10**7, available=2.0)
    assert model_window(model) == 512


def test_a_model_of_the_hub_that_does_not_fit_is_not_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmkml.config import paths

    shape = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "vocab_size": 100,
        "torch_dtype": "bfloat16",
    }
    weights = bytes(3 << 20)
    hub = HubStandIn({"config.json": json.dumps(shape).encode(), "tokenizer.json": b"{}", "model.safetensors": weights})
    server = serve(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    monkeypatch.setattr(loading, "free_gib", lambda device: 0.1)
    corpus = tmp_path / "c.txt"
    corpus.write_text("The house is old.", encoding="utf-8")
    try:
        assert main(["analyse", "org/tiny", "--corpus", str(corpus), "--device", "cpu"]) == 2
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
    captured = capsys.readouterr()
    assert "org--tiny needs about" in captured.err and "0.1 are free on cpu" in captured.err
    assert len(hub.fetched("config.json")) == 1 and hub.fetched("model.safetensors") == []


@pytest.mark.parametrize(
    ("more", "bytes_a_weight"),
    [({"torch_dtype": "bfloat16"}, 2), ({"dtype": "float32"}, 4), ({}, 4)],
)
def test_weights_are_reckoned_in_the_type_they_are_loaded_in(
    more: dict[str, str], bytes_a_weight: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 64, "vocab_size": 100, **more}), encoding="utf-8")
    monkeypatch.setattr(loading, "free_gib", lambda device: 1.0)
    with pytest.raises(MemoryShortError, match=f"weights {4 / bytes_a_weight * 10:.1f}"):
        check_memory_before_download(tmp_path, 10 << 30, CPU, torch.float32)


def test_models_with_one_base_are_measured_apart_and_not_twice(
    run: Path, options: SourceOptions, tmp_path: Path
) -> None:
    corpus = tmp_path / "c.txt"
    corpus.write_text("The house is old.\n\nThe wind knows every door of it.\n", encoding="utf-8")
    sources = resolve_sources([f"{run}:0", f"{run}:-1", f"{run}:2"], options)
    reading = NextTokenOptions(32, 32)
    results = compare_next_tokens(sources, [corpus], reading, CPU, torch.float32, tmp_path / "state")
    entropies = [result["micro"]["measures"]["entropy"]["value"] for result in results.values()]
    alone = compare_next_tokens(sources[1:2], [corpus], reading, CPU, torch.float32)["base"]
    assert alone["micro"]["measures"]["entropy"]["value"] == pytest.approx(entropies[1], rel=1e-6)
    assert len({round(entropy, 4) for entropy in entropies}) == 3, (
        "each adapter is its own, and leaves the base as it was"
    )
    frame = next_token_frame(results)
    assert set(frame.label) == {"iteration 0", "base", "iteration 2"} and set(frame.scope) == {
        "micro",
        "macro",
        str(corpus),
    }
    ranks = rank_frame(results)
    whole = ranks[(ranks.label == "base") & (ranks.scope == "micro")]
    assert whole.cumulative.iloc[-1] == pytest.approx(1.0, abs=1e-5) and whole.probability.is_monotonic_decreasing
    read: list[str] = []
    again = compare_next_tokens(
        sources, [corpus], reading, CPU, torch.float32, tmp_path / "state", lambda label, *_: read.append(label)
    )
    assert again == results and read == [], "what is on the disk is not measured again"
    corpus.write_text(corpus.read_text(encoding="utf-8").swapcase(), encoding="utf-8")  # as long as before
    with pytest.raises(StateMismatchError, match="of another model, corpus"):
        compare_next_tokens(sources, [corpus], reading, CPU, torch.float32, tmp_path / "state")


PROMPTS = [AskedPrompt("Who are you?", "creative", "I am"), AskedPrompt("2 + 2?", "factual", "", ("4",), "en")]
SMALL = MakingOptions(temperatures=(0.7, 1.0, 1.3), completions=3, max_tokens=8, batch=6, device="cpu")


def test_answers_that_were_interrupted_go_on_and_end_the_same(
    run: Path, options: SourceOptions, tmp_path: Path
) -> None:
    sources = resolve_sources([f"{run}:-1", f"{run}:0"], options)

    def files(folder: str) -> list[AnswerFile]:
        return [AnswerFile(source, tmp_path / folder / f"{number}.jsonl") for number, source in enumerate(sources)]

    seen: list[tuple[str, int, int]] = []
    make_answers(files("whole"), PROMPTS, SMALL, lambda label, done, total, _: seen.append((label, done, total)))
    assert seen == [(source.label, done, 18) for source in sources for done in (6, 12, 18)]

    def interrupt(label: str, done: int, total: int, seconds: float) -> None:
        if done == 12:
            raise KeyboardInterrupt

    predicted: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        make_answers(files("parts"), PROMPTS, SMALL, interrupt, predicted.append)
    assert len(predicted) == 1 and predicted[0] > 0, "once, for all models; what is asked for it changes no answer"
    with (tmp_path / "parts" / "0.jsonl").open("ab") as stream:
        stream.write(b'{"prompt": "half a li')
    make_answers(files("parts"), PROMPTS, SMALL, on_prediction=predicted.append)
    assert len(predicted) == 2
    make_answers(files("parts"), PROMPTS, SMALL, on_prediction=predicted.append)
    assert len(predicted) == 2, "nothing is left to be made"
    for number in (0, 1):
        whole = (tmp_path / "whole" / f"{number}.jsonl").read_text(encoding="utf-8")
        assert whole == (tmp_path / "parts" / f"{number}.jsonl").read_text(encoding="utf-8")
    base, tuned = (read_answers(tmp_path / "whole" / f"{number}.jsonl") for number in (0, 1))
    assert [(item.prompt, item.temperature, len(item.answers)) for item in base] == [
        (prompt.prompt, temperature, 3) for prompt in PROMPTS for temperature in ("0.7", "1", "1.3")
    ]
    assert (base[0].opening, base[3].expected, base[3].language) == ("I am", ("4",), "en")
    assert [item.answers for item in base] != [item.answers for item in tuned]
    assert len({answer for item in base for answer in item.answers}) > 10, "each has a seed of its own"
    with pytest.raises(AnswersMismatchError, match="Give another --out"):
        make_answers(files("whole"), PROMPTS[:1], SMALL)
    assert sum(1 for _ in (tmp_path / "whole" / "0.jsonl").open(encoding="utf-8")) == 6, "and what is there stays"
    # Other facts and another language would be measured otherwise, and other weights answer otherwise.
    facts = replace(PROMPTS[1], expected=("5",))
    german = replace(PROMPTS[0], language="de")
    for prompts, made in (
        ([PROMPTS[0], facts], SMALL),
        ([german, PROMPTS[1]], SMALL),
        (PROMPTS, replace(SMALL, dtype="bfloat16")),
    ):
        with pytest.raises(AnswersMismatchError, match="Give another --out"):
            make_answers(files("whole"), prompts, made)
    # An engine's and a device's answers are taken for the same.
    make_answers(files("whole"), PROMPTS, replace(SMALL, device=""))


def test_a_prompt_is_put_as_the_model_knows_it(model: Path) -> None:
    tokenizer = load_any_tokenizer(MODEL_FOLDER)
    chat = tokenizer.decode(encode_prompt(tokenizer, PROMPTS[0], SMALL))
    assert "Who are you?" in chat and chat.endswith("I am") and chat != "Who are you?\nI am"
    bare = load_any_tokenizer(model)
    bare.chat_template = None
    plain = bare.decode(encode_prompt(bare, PROMPTS[1], SMALL), skip_special_tokens=True)
    assert plain == "2 + 2?\n"
    assert bare.decode(encode_prompt(bare, PROMPTS[0], SMALL), skip_special_tokens=True) == "Who are you?\nI am"
    with pytest.raises(SourceError, match="has no chat template"):
        encode_prompt(bare, PROMPTS[0], MakingOptions(prompt_format="chat"))


@pytest.mark.parametrize("language", ["de", "en"])
def test_our_own_lists_hold_twenty_of_each_kind(language: str) -> None:
    prompts = own_prompts(language)
    assert [prompt.kind for prompt in prompts] == ["creative"] * 20 + ["factual"] * 20
    assert len({prompt.prompt for prompt in prompts}) == 40
    for prompt in prompts[20:]:
        assert prompt.expected and prompt.language == language
        assert not states_fact(f"{prompt.prompt} {prompt.opening}", prompt.expected), "the question holds no answer"
    assert sum(bool(prompt.opening) for prompt in prompts) > 20


def test_prompts_of_others(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text('mine:\n- Hello\n- {prompt: "Who?", opening: I, expected: ["x"]}\n', encoding="utf-8")
    assert read_prompts(path, "en") == [
        AskedPrompt("Hello", "mine", language="en"),
        AskedPrompt("Who?", "mine", "I", ("x",), "en"),
    ]
    for text, message in (
        ("[]", "holds no lists"),
        ("a: 1", "`a` is no list"),
        ("a: [{answer: x}]", "a, prompt 1: has no `prompt`"),
        ("a: [x, x]", "prompt 2: is there twice"),
        ("a: [{prompt: x, expect: y}]", "expect is not known"),
        ("a: [{prompt: x, expected: y}]", "`expected` a list of texts"),
        ("{", "is no YAML"),
        (r'a: ["\udc00"]', "a, prompt 1: holds half of a surrogate pair"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(PromptsError, match=message):
            read_prompts(path, "en")
    with pytest.raises(PromptsError, match="there are lists in de, en"):
        own_prompts("fr")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("prompt,answer\n" + "".join(f"p{n % 30},a{n}\n" for n in range(60)), encoding="utf-8")
    drawn = seen_prompts(str(pairs), "en")
    assert len({prompt.prompt for prompt in drawn}) == 20 and {prompt.kind for prompt in drawn} == {"seen"}
    assert drawn == seen_prompts(str(pairs), "en") != seen_prompts(str(pairs), "en", seed=1)


@pytest.mark.slow
def test_the_command_measures_a_run_and_goes_on_where_it_was(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, prompts, out = tmp_path / "c.jsonl", tmp_path / "p.yaml", tmp_path / "out"
    corpus.write_text('{"text": "The house is old."}\n{"text": "It stands."}\n{"body": ""}\n', encoding="utf-8")
    prompts.write_text(
        'creative: [Hello, "Who are you?"]\nfactual:\n- {prompt: "2+2?", expected: ["4"]}\n', encoding="utf-8"
    )
    words = ["analyse", str(run), "--corpus", str(corpus), "--prompts", str(prompts), "--quick", "--completions", "2"]
    words += ["--max-tokens", "6", "--batch", "4", "--device", "cpu", "--labels", "PLM,SFT,DPO", "--out", str(out)]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(making, "_line", interrupted)
        assert main(words) == 130
    assert f"--out {out} --resume goes on" in capsys.readouterr().err
    assert main(words) == 2
    assert "holds an analysis. Go on with it with --resume" in capsys.readouterr().err
    assert main([*words, "--resume", "--json", str(tmp_path / "all.json")]) == 0
    captured = capsys.readouterr()
    assert "3 prompts × 2 temperatures × 2 answers × 3 models: 36 answers" in captured.err
    assert "for all models, by the first 4 answers" in captured.err
    assert "1 documents could not be used; the first: the line that ends at byte" in captured.err
    assert (
        "| `entropy` |" in captured.out
        and "| `fact_accuracy` |" in captured.out
        and "PLM | SFT | DPO |" in captured.out
    )
    result = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert list(result["labels"]) == list(result["next_token"]) == ["PLM", "SFT", "DPO"]
    assert list(result["labels"]["DPO"]["creative"]["self_bleu"]["by_temperature"]) == ["0.7", "1"]
    figures = ["next_token", "next_token_ranks", "next_token_positions", "output_diversity_creative"]
    written = {path.name for path in out.iterdir()}
    assert written >= {f"{name}.{ending}" for name in figures for ending in ("png", "svg")}
    assert written >= {
        "next_token.csv",
        "next_token_ranks.csv",
        "next_token.md",
        "output_diversity.csv",
        "answers.html",
    }
    assert (out / "next_token_ranks.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "answers.html").read_text(encoding="utf-8")
    assert page.count('<th scope="col">DPO</th>') == 3 and "2+2?" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Name what to measure"),
        ("understudy", "Say what to measure of these models"),
        ("understudy --answers a.jsonl", "--answers measures files in place of models"),
        ("understudy --corpus nowhere.txt", "nowhere.txt cannot be read"),
        ("understudy --corpus pyproject.toml", "pyproject.toml: not one of .jsonl"),
        ("understudy --prompts --temperatures 0.7,hot", "--temperatures: 0.7,hot is not allowed"),
        ("understudy --prompts --language fr", "there are lists in de, en"),
        ("understudy --prompts --top-p 0", "--top-p: 0 is not allowed"),
        ("nowhere --prompts", "nowhere is no model"),
        ("understudy --corpus README.md --window 0", "--window: 0 is not allowed"),
        ("understudy --corpus examples/corpora/story.txt --window 8 --stride 9", "--stride: 9 is longer"),
        ("understudy --prompts --resume", "--resume needs --out"),
    ],
)
def test_what_cannot_be_begun_is_said_in_a_sentence(
    words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmkml.config.paths import PROJECT

    monkeypatch.chdir(PROJECT)
    before = sorted(PROJECT.glob("data/*"))
    assert main(["analyse", *words.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and captured.out == ""
    assert sorted(PROJECT.glob("data/*")) == before, "and nothing was written"


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be read (JSONDecodeError). Fetch it with `python -m wmkml download`"), ("[]", "holds no settings")],
)
def test_a_model_whose_config_is_broken_is_a_sentence(
    content: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    (broken / "config.json").write_text(content, encoding="utf-8")
    corpus = tmp_path / "c.txt"
    corpus.write_text("The house is old.", encoding="utf-8")
    assert main(["analyse", str(broken), "--corpus", str(corpus), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and not (tmp_path / "out").exists()


def test_a_settings_file_that_is_broken_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wmkml.config import paths

    # What a package outside a checkout reads: the folder that the command is called in.
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    (tmp_path / "config.yaml").write_text("general: [\n", encoding="utf-8")
    assert main(["analyse", "understudy", "--prompts"]) == 2
    captured = capsys.readouterr()
    assert "config.yaml" in captured.err and "Traceback" not in captured.err


def test_what_finetune_leaves_is_an_adapter_and_no_run(model: Path, tmp_path: Path) -> None:
    settings = load_settings(None)  # they name another model: `finetune` takes none of them
    folder, store = create_run(tmp_path, "voice", "", settings, "finetune")
    store.close()
    make_adapter(model, folder, seed=1)
    (source,) = resolve_sources([str(folder)], SourceOptions(tmp_path, tmp_path, base=str(model)))
    assert (source.adapter, source.folder, source.iteration) == (folder, model, None)
