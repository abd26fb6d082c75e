"""Words as samples: which of them are shown, and what of a pair is learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.finetuning.tiny_architectures import make_tiny
from wmkml.corpora import read
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.dialogue.templates import find_template, use_template
from wmkml.finetuning.preparation.words import SampleForm, words_of
from wmkml.training.samples import IGNORED, LossOn


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.mark.parametrize(("pairs", "keep"), [(1, 5), (5, 5), (12, 5), (103, 4), (997, 5), (40, 1), (9, 0)])
def test_the_pairs_that_are_shown_are_evenly_spread(pairs: int, keep: int, model: Path, tmp_path: Path) -> None:
    (path := tmp_path / "words.txt").write_text("".join(f"{number} # x\n" for number in range(pairs)))
    tokenizer = load_tokenizer(model, needs_template=False)
    use_template(tokenizer, find_template("plain", tokenizer))
    words = words_of([read(path)], "train", tokenizer, SampleForm(), keep=keep)
    words.store.close()
    places = [int(pair.prompt) for pair in words.shown]
    assert len(places) == min(pairs, keep) and places == sorted(set(places))
    # Each part of the corpus, of as many as are shown, has about one of them.
    for number, place in enumerate(places):
        assert number * pairs / keep - pairs / keep / 2 <= place <= (number + 1) * pairs / keep


@pytest.mark.parametrize("loss_on", ["answer", "text"])
def test_the_loss_is_on_the_answer_or_on_the_whole_text(loss_on: LossOn, model: Path, tmp_path: Path) -> None:
    (path := tmp_path / "words.txt").write_text("Was ist rot? # Ein Haus\n")
    tokenizer = load_tokenizer(model, needs_template=False)
    use_template(tokenizer, find_template("anweisung", tokenizer))
    words = words_of([read(path)], "train", tokenizer, SampleForm(loss_on=loss_on))
    (sample,) = words.store
    words.store.close()
    learned = tokenizer.decode([label for label in sample.labels if label != IGNORED])
    # The first token, here a letter, has nothing before it that it could be told by.
    expected = {"answer": "Ein Haus</s>", "text": "nweisung: Was ist rot?\nAntwort: Ein Haus</s>"}
    assert learned.strip() == expected[loss_on]
