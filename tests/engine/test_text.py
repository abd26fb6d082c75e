"""Token ids become text as they are generated: no character is lost or split, and stop strings are left out."""

from __future__ import annotations

import math

import pytest
from transformers import PreTrainedTokenizerBase

from tests.dialogue.tokenizers_of_kinds import kinds
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.engine.text import Detokenizer, StopStrings, entropy, token_decoder

TOKENIZERS = {**kinds(), "understudy": load_tokenizer(SHIPPED_MODEL)}
TEXTS = ["A language is a house of words.", "Grüße aus Köln, 你好 🦊🦊 … ß\n\nzwei  Leerzeichen ", "🦊", "", "\n"]


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return TOKENIZERS[request.param]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_joined_are_the_text(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    words = Detokenizer(tokenizer)
    pieces = [words.push(token) for token in ids]
    whole = "".join(pieces) + words.finish()
    assert whole == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "\ufffd" not in whole
    assert whole.strip() == text.strip()


def test_a_token_alone_has_the_text_it_has_inside_a_text(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("A language is a house of words.", add_special_tokens=False)["input_ids"]
    words, alone = Detokenizer(tokenizer), token_decoder(tokenizer)
    pieces = [words.push(token) for token in ids]
    assert [alone(token) for token in ids[1:]] == pieces[1:], "the first one's space may be taken from it"
    assert alone(tokenizer.eos_token_id) == ""


def test_special_tokens_are_no_text(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("Eine Sprache", add_special_tokens=False)["input_ids"]
    words = Detokenizer(tokenizer)
    whole = "".join(words.push(token) for token in [*ids, tokenizer.eos_token_id]) + words.finish()
    assert whole.strip() == "Eine Sprache"


def test_half_a_character_at_the_end_is_told_as_such_and_holds_nothing_back_for_ever() -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer("🦊", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    words = Detokenizer(tokenizer)
    assert [words.push(token) for token in ids[:-1]] == [""] * (len(ids) - 1)
    assert "\ufffd" in words.finish()
    words = Detokenizer(tokenizer)
    whole = "".join(words.push(ids[0]) for _ in range(12)) + words.finish()
    assert whole.count("\ufffd") == 12


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("text", "stops", "kept", "stopped"),
    [
        ("eins zwei drei", ["zwei"], "eins ", True),
        ("eins zwei drei", ["drei", "zwei"], "eins ", True),
        ("eins zwei drei", ["vier", ""], "eins zwei drei", False),
        ("aaab", ["aab"], "a", True),
        ("eins zwe", ["zwei"], "eins zwe", False),
        ("", ["x"], "", False),
        ("\n\nUser:", ["\n\n"], "", True),
    ],
)
def test_text_ends_before_a_stop_string(text: str, stops: list[str], kept: str, stopped: bool, size: int) -> None:
    watch, text_so_far, ended = StopStrings(stops), "", False
    for start in range(0, len(text), size):
        more, ended = watch.push(text[start : start + size])
        text_so_far += more
        if ended:
            break
    assert (text_so_far + ("" if ended else watch.finish()), ended) == (kept, stopped)


def test_entropy_counts_the_rest_as_one() -> None:
    assert entropy([(1, 0.0)]) == 0.0
    assert entropy([(1, math.log(0.5))]) == pytest.approx(math.log(2))
    assert entropy([(token, math.log(1 / 40)) for token in range(20)]) == pytest.approx(
        -(20 * (1 / 40) * math.log(1 / 40) + 0.5 * math.log(0.5))
    )
