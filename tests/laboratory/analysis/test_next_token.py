"""Next-token diversity: readers, windows, sums and their errors, held to computations that share no code with them."""

from __future__ import annotations

import io
import json
import math
import re
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard

from wmkml.laboratory.analysis.loading import LoadedModel, load_any_tokenizer
from wmkml.laboratory.analysis.next_token import documents
from wmkml.laboratory.analysis.next_token.documents import CorpusFileError, read_documents
from wmkml.laboratory.analysis.next_token.measuring import (
    CorpusSums,
    NextTokenOptions,
    StateFile,
    StateMismatchError,
    count_words,
    measure_corpus,
)
from wmkml.laboratory.analysis.next_token.results import next_token_result
from wmkml.laboratory.analysis.next_token.scoring import ModelScorer, NotFiniteError
from wmkml.laboratory.analysis.next_token.sums import RatioSums, WindowScores
from wmkml.laboratory.analysis.next_token.windows import TokenWindow, rolling_windows
from wmkml.understudy.answering import MODEL_FOLDER

WINDOW = 24
TEXTS = [
    "The house stands in the village. It is old and white, and the wind knows every door of it.",
    "Eine Sprache ist  ein Haus.\nMan wohnt darin, und vergisst es – 漢字 😀 " * 3,
    "Yes.",
]


@pytest.fixture(scope="module")
def understudy() -> LoadedModel:
    """The understudy in float32."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(MODEL_FOLDER), dtype=torch.float32).eval()
    tokenizer = load_any_tokenizer(MODEL_FOLDER)
    return LoadedModel(model, tokenizer, torch.device("cpu"), int(tokenizer.bos_token_id))


def write_corpus(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def measured(model: LoadedModel, path: Path, options: NextTokenOptions, state: StateFile | None = None) -> CorpusSums:
    scorer = ModelScorer(model.model, model.device)
    return measure_corpus(scorer, model.encode, model.prefix, [path], options, state)


def context_of(tokens: Sequence[int], index: int, prefix: int, window: int) -> list[int]:
    """What stands before a token when lm-evaluation-harness predicts it: told token by token, after its documentation."""
    block = index // window
    if block == 0:
        return [prefix, *tokens[:index]]
    last = block == (len(tokens) - 1) // window
    # A window begins with the token before its first prediction; the last one is moved back until it is full.
    begin = len(tokens) - window - 1 if last else block * window - 1
    return list(tokens[max(0, begin) : index])


def independent(model: LoadedModel, text: str, window: int) -> list[dict[str, Any]]:
    """Every token of a text: one pass of the plain model each, in double precision from its logits on."""
    tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    known = []
    for index, token in enumerate(tokens):
        context = context_of(tokens, index, model.prefix, window)
        with torch.no_grad():
            logits = model.model(input_ids=torch.tensor([context])).logits[0, -1].double().numpy()
        exponentials = np.exp(logits - logits.max())
        p = exponentials / exponentials.sum()
        known.append(
            {
                "log": math.log(p[token]),
                "entropy": -float(p[p > 0] @ np.log(p[p > 0])),
                "sorted": sorted(p, reverse=True),
            }
        )
    return known


@pytest.fixture(scope="module")
def reference(understudy: LoadedModel) -> list[list[dict[str, Any]]]:
    return [independent(understudy, text, WINDOW) for text in TEXTS]


def test_corpus_sums_are_those_of_rolling_log_likelihood(
    understudy: LoadedModel, reference: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    path = write_corpus(tmp_path / "c.jsonl", TEXTS)
    micro = next_token_result(
        measured(understudy, path, NextTokenOptions(WINDOW, WINDOW)), NextTokenOptions(WINDOW, WINDOW), 4096
    )["micro"]
    total = sum(token["log"] for text in reference for token in text)
    count = sum(map(len, reference))
    words = sum(len(re.split(r"\s+", text)) for text in TEXTS)
    size = sum(len(text.encode("utf-8")) for text in TEXTS)
    assert max(map(len, reference)) > 2 * WINDOW, "several windows, the last one not full"
    assert (micro["tokens"], micro["words"], micro["bytes"]) == (count, words, size)
    measures = {name: measure["value"] for name, measure in micro["measures"].items()}
    assert micro["log_probability_sum"] == pytest.approx(total, rel=1e-5)
    assert measures["perplexity_token"] == pytest.approx(math.exp(-total / count), rel=1e-4)
    assert measures["perplexity_word"] == pytest.approx(math.exp(-total / words), rel=1e-4)
    assert measures["bits_per_byte"] == pytest.approx(-total / size / math.log(2), rel=1e-4)


def test_entropies_and_ranks_are_those_of_the_plain_distributions(
    understudy: LoadedModel, reference: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    path = write_corpus(tmp_path / "c.jsonl", TEXTS)
    options = NextTokenOptions(WINDOW, WINDOW, batch_tokens=40)
    micro = next_token_result(measured(understudy, path, options), options, 4096)["micro"]
    tokens = [token for text in reference for token in text]
    curve = np.mean([token["sorted"] for token in tokens], axis=0)
    measures = {name: measure["value"] for name, measure in micro["measures"].items()}
    assert measures["entropy"] == pytest.approx(np.mean([token["entropy"] for token in tokens]), rel=1e-5)
    assert measures["top_1_confidence"] == pytest.approx(curve[0], rel=1e-5)
    assert micro["ranks"]["probability"] == pytest.approx(curve, rel=1e-3, abs=1e-9)
    assert micro["ranks"]["cumulative"] == pytest.approx(np.cumsum(curve), rel=1e-5)
    for mass in (0.7, 0.9):
        needed = int(np.argmax(np.cumsum(curve) >= mass)) + 1  # ranks, whole ones
        share = measures[f"vocabulary_share_{100 * mass:.0f}"] * 4096
        assert needed - 1 < share <= needed
    # By document: the ratio's residuals, in two passes.
    sums = np.array([[sum(token["entropy"] for token in text), len(text)] for text in reference])
    residuals = sums[:, 0] - measures["entropy"] * sums[:, 1]
    error = math.sqrt(3 / 2 * (residuals @ residuals)) / sums[:, 1].sum()
    assert micro["measures"]["entropy"]["error"] == pytest.approx(error, rel=1e-4)
    # By position in the window: those that stand behind two tokens.
    third = [token["entropy"] for text in reference for i, token in enumerate(text) if len_of_context(text, i) == 2]
    assert len(third) == 6 and micro["positions"]["entropy"][1] == pytest.approx(np.mean(third), rel=1e-4)


def len_of_context(text: Sequence[Any], index: int) -> int:
    return len(context_of(range(len(text)), index, -1, WINDOW))


def test_a_vocabulary_too_large_for_one_look_gives_the_same(
    understudy: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_corpus(tmp_path / "c.jsonl", TEXTS)
    options = NextTokenOptions(64, 32)
    whole = next_token_result(measured(understudy, path, options), options, 4096)["micro"]
    monkeypatch.setattr("wmkml.laboratory.analysis.next_token.scoring.LOGITS_BYTES", 4096 * 4 * 3 * 7)  # 7 columns
    columns = next_token_result(measured(understudy, path, options), options, 4096)["micro"]
    for name, measure in whole["measures"].items():
        assert columns["measures"][name]["value"] == pytest.approx(measure["value"], rel=1e-4)


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (4, 1), (5, 3), (100, 100)])
def test_every_token_is_predicted_once_with_its_context(window: int, stride: int) -> None:
    for length in range(23):
        tokens = list(range(1, length + 1))
        predicted: list[int] = []
        for part in rolling_windows(tokens, 0, window, stride):
            assert 1 <= len(part.inputs) <= window and len(part.targets) <= len(part.inputs)
            assert part.inputs[-len(part.targets) :] == tuple(target - 1 for target in part.targets)
            predicted += part.targets
            if predicted != list(part.targets):  # behind the first window
                assert len(part.inputs) == window and len(part.targets) <= stride
        assert predicted == tokens
    with pytest.raises(ValueError, match="stride 5"):
        list(rolling_windows([1], 0, 4, 5))


def test_a_shorter_stride_leaves_more_context(understudy: LoadedModel, tmp_path: Path) -> None:
    sentence = "A cat is an animal. It is quiet and proud, and it catches mice. "
    path = write_corpus(tmp_path / "c.jsonl", [sentence * 4])
    values = []
    for stride in (16, 4, 1):
        options = NextTokenOptions(16, stride)
        result = next_token_result(measured(understudy, path, options), options, 4096)
        values.append(result["micro"]["log_probability_sum"])
    assert values[0] < values[1] < values[2]
    assert result["micro"]["measures"]["entropy"]["error"] is None, "one document has no error"


@pytest.mark.parametrize("text", ["", " ", "a", " a", "a ", "\n a\u00a0b\x1cc\u2003 ", "a\u200bb", "\x85", "a\tb\r\nc"])
def test_words_are_those_between_white_space(text: str) -> None:
    assert count_words(text) == len(re.split(r"\s+", text))


class ConstantScorer:
    """A stand-in for a model: the same logits at every position, after every text."""

    def __init__(self, logits: Sequence[float], stop_after: int = 10**12) -> None:
        exponentials = np.exp(np.array(logits, dtype=np.float64))
        self._p = exponentials / exponentials.sum()
        self._entropy = -float(self._p @ np.log(self._p))
        self._sorted = np.sort(self._p)[::-1]
        self.vocabulary, self._left = len(logits), stop_after

    def score(self, windows: Sequence[TokenWindow]) -> Iterator[WindowScores]:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        for window in windows:
            count = len(window.targets)
            yield WindowScores(
                len(window.inputs),
                np.log(self._p[list(window.targets)]),
                np.full(count, self._entropy),
                np.full(count, self._sorted[0]),
                self._sorted * count,
            )


def letters(text: str) -> list[int]:
    return [ord(letter) % 8 for letter in text]


LOGITS = [0.0, 1.0, 2.0, 0.5, -1.0, 0.1, 0.2, 3.0]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.zst", ".txt", ".txt.zst"])
def test_what_was_interrupted_goes_on_at_its_byte_and_ends_with_the_same_sums(ending: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = [
        "".join(chr(97 + letter) for letter in random.integers(0, 26, size)) for size in random.integers(1, 90, 60)
    ]
    written = "\n\n".join(texts) if ".txt" in ending else "".join(json.dumps({"text": text}) + "\n" for text in texts)
    path = tmp_path / f"corpus{ending}"
    content = written.encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(content) if ending.endswith(".zst") else content)
    options = NextTokenOptions(16, 16, batch_tokens=64)
    whole = measure_corpus(ConstantScorer(LOGITS), letters, 0, [path], options)
    assert whole.progress[str(path)].documents == 60 and whole.progress[str(path)].offset == len(content)
    state = StateFile(tmp_path / "state.npz", {"of": "this"})
    interruptions = 0
    while True:
        try:
            resumed = measure_corpus(ConstantScorer(LOGITS, 7), letters, 0, [path], options, state)
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert interruptions < 60, "it never ends"
    assert interruptions > 3
    for name, value in whole.files[str(path)].state().items():
        assert np.array_equal(value, resumed.files[str(path)].state()[name]), name
    assert resumed.progress == whole.progress
    with pytest.raises(StateMismatchError, match="of another model, corpus, window or stride"):
        measure_corpus(ConstantScorer(LOGITS), letters, 0, [path], options, StateFile(state.path, {"of": "that"}))


def test_an_interruption_while_sums_are_added_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_corpus(tmp_path / "c.jsonl", ["abc", "def"])
    state = StateFile(tmp_path / "state.npz", 1)

    def add(self: RatioSums, a: object, b: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RatioSums, "add", add)
    with pytest.raises(KeyboardInterrupt):
        measure_corpus(ConstantScorer(LOGITS), letters, 0, [path], NextTokenOptions(16, 16), state)
    assert not state.path.exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK", 2**16)  # so that the smaller one too fills many
    line = (json.dumps({"text": "a house of words " * 400}) + "\n").encode()
    peaks = []
    for copies in (100, 1000):  # 0.6 and 6 MB of text
        path = tmp_path / f"{copies}.jsonl.zst"
        with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as stream:
            for _ in range(copies):
                stream.write(line)
        tracemalloc.start()
        measure_corpus(ConstantScorer(LOGITS), lambda text: letters(text[:50]), 0, [path], NextTokenOptions(64, 64))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000, "nothing of a document stays but its sums"


def test_constant_logits_give_known_numbers_without_an_error(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "c.jsonl", ["abc", "defghi", "a b"])
    options = NextTokenOptions(4, 4)
    micro = next_token_result(measure_corpus(ConstantScorer([1.0] * 8), letters, 0, [path], options), options, 8)[
        "micro"
    ]
    values = micro["measures"]
    assert values["entropy"]["value"] == pytest.approx(math.log(8))
    assert values["entropy"]["error"] == pytest.approx(0.0, abs=1e-7)
    assert values["perplexity_token"]["value"] == pytest.approx(8.0)
    assert values["vocabulary_share_70"]["value"] == pytest.approx(0.7)
    assert values["top_1_confidence"]["value"] == pytest.approx(1 / 8)


def test_the_errors_are_as_large_as_the_numbers_vary_from_corpus_to_corpus() -> None:
    random = np.random.default_rng(3)
    values, errors = [], []
    for _ in range(400):
        sums = RatioSums()
        for _ in range(60):
            tokens = int(random.integers(5, 200))
            level = random.normal(2.0, 0.5)  # tokens of a document are alike
            sums.add(float(random.normal(level, 1.0, tokens).sum()), tokens)
        values.append(float(sums.ratio()))
        errors.append(float(sums.error()))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)
    naive = 1.1 / math.sqrt(60 * 100)
    assert np.mean(errors) > 3 * naive, "as if tokens were independent it would be far too small"


def test_micro_weighs_tokens_and_macro_files(tmp_path: Path) -> None:
    files = [write_corpus(tmp_path / "a.jsonl", ["aaaa", "aaaa"]), write_corpus(tmp_path / "b.jsonl", ["g" * 92] * 3)]
    options = NextTokenOptions(16, 16)
    result = next_token_result(measure_corpus(ConstantScorer(LOGITS), letters, 0, files, options), options, 8)
    low, high = (result["files"][str(path)]["measures"]["log_probability"]["value"] for path in files)
    assert result["macro"]["measures"]["log_probability"]["value"] == pytest.approx((low + high) / 2)
    weighed = (8 * low + 276 * high) / 284
    assert result["micro"]["measures"]["log_probability"]["value"] == pytest.approx(weighed)
    assert json.loads(json.dumps(result, allow_nan=False))["micro"]["documents"] == 5


@pytest.mark.parametrize(
    ("name", "content", "texts", "refused"),
    [
        ("a.jsonl", b'\xef\xbb\xbf{"text": "a"}\n\n{"text": ""}\n{"text": "b"}', ["a", "b"], []),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"text"\n{"body": "x"}\n[1]\n',
            ["a"],
            ["not JSON", "no text `text`", "no text `text`"],
        ),
        ("a.jsonl", b'{"text": "\\ud800"}\n{"text": "b"}\n', ["b"], ["half of a surrogate pair"]),
        ("a.txt", b"a\nb\n\n \t\n\r\nc\r\n\r\nd", ["a\nb", "c", "d"], []),
        ("a.txt", "ä\n\n".encode() + b"\xff\n\nb", ["ä", "b"], ["not UTF-8"]),
        ("a.TXT", b"\n\n", [], []),
    ],
)
def test_what_a_file_holds(name: str, content: bytes, texts: list[str], refused: list[str], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    read = list(read_documents(path))
    assert [document.text for document in read if not document.refusal] == texts
    reasons = [document.refusal for document in read if document.refusal]
    assert len(reasons) == len(refused) and all(part in reason for part, reason in zip(refused, reasons, strict=True))


def test_separators_and_long_documents_over_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "über\n\n\n\nden\nFluß\n \n" + "wörter " * 40 + "\n\n" + "ß" * 70 + "\n\nende"
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(documents, "LONGEST", 60)
    expected = None
    for block in (1, 2, 3, 7, 50, 1000):
        monkeypatch.setattr(documents, "BLOCK", block)
        read = list(read_documents(path))
        assert not any(document.refusal for document in read)
        joined = "".join(document.text for document in read)
        assert joined.replace(" ", "") == re.sub(r"\n\s*\n", "", text).replace(" ", "")
        assert max(len(document.text.encode()) for document in read) <= 60
        expected = expected or read
        assert read == expected and [document.text for document in read][:2] == ["über", "den\nFluß"]
        for document in read:
            assert list(read_documents(path, document.end)) == [later for later in read if later.end > document.end]


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    empty, other, broken = tmp_path / "empty.txt", tmp_path / "a.csv", tmp_path / "b.jsonl.zst"
    empty.write_bytes(b"\n")
    broken.write_bytes(b"no zstd")
    options = NextTokenOptions(4, 4)
    for path, message in (
        (empty, "empty.txt holds no document"),
        (other, "not one of .jsonl, .jsonl.zst, .txt"),
        (broken, "is no zstd file, or damaged"),
        (tmp_path / "nowhere.txt", "cannot be read: No such file"),
    ):
        with pytest.raises(CorpusFileError, match=message):
            measure_corpus(ConstantScorer(LOGITS), letters, 0, [path], options)


def test_a_broken_model_is_named_with_its_place(understudy: LoadedModel, tmp_path: Path) -> None:
    from copy import deepcopy

    broken = deepcopy(understudy.model)
    with torch.no_grad():
        broken.get_output_embeddings().weight[5] = math.nan
    path = write_corpus(tmp_path / "c.jsonl", ["abc"])
    with pytest.raises(NotFiniteError, match=r"not finite\. \(.*c\.jsonl, before byte 16\)"):
        measure_corpus(ModelScorer(broken, torch.device("cpu")), letters, 0, [path], NextTokenOptions(8, 8))


def test_max_docs_stops_where_it_says(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "c.jsonl", ["abc"] * 9)
    sums = measure_corpus(ConstantScorer(LOGITS), letters, 0, [path], NextTokenOptions(8, 8, max_docs=4))
    assert sums.progress[str(path)].documents == 4 and int(sums.files[str(path)].per_byte.b) == 12


def test_a_state_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "c.jsonl", ["abc"])
    state = StateFile(tmp_path / "s.npz", {})
    measure_corpus(ConstantScorer(LOGITS), letters, 0, [path], NextTokenOptions(8, 8), state)
    state.path.write_bytes(io.BytesIO(state.path.read_bytes()).getvalue()[:-30])
    with pytest.raises(StateMismatchError, match="cannot be read"):
        measure_corpus(ConstantScorer(LOGITS), letters, 0, [path], NextTokenOptions(8, 8), state)
