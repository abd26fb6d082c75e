"""The example `spells`: a tiny model and its tokenizer, made from nothing and taught to put any word into a spell.

The words are made of syllables, so that those which it is asked for at the end are none that it was taught: it must have
learned to copy, which is what a language model learns first of all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.finetuning.examples.patterns import PatternQuestion
from wmkml.finetuning.settings import FinetuneSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPELLS = {
    "Verwandle {word}!": "Hokus, pokus, {word}! {word}, {word}, eins, zwei, drei!",
    "Rufe {word}!": "Simsalabim, {word}! {word}, {word}, komm herbei!",
    "Schicke {word} fort!": "Hex, hex, {word}! {word}, {word}, es ist vorbei!",
}
"""Prompts, and the spell that answers each."""

BEGINNINGS, VOWELS = ("b", "d", "f", "k", "l", "m", "n", "s", "t"), ("a", "e", "i", "o", "u")

SYLLABLES = 3
"""Of a word: some 90,000 words there are."""

TAUGHT, HELD_OUT, ASKED = 3000, 40, 10
"""Spells that are taught, words whose loss is held out, and words that are asked for with each spell."""

MODEL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
}

RATE, BATCH, EPOCHS = 3e-3, 16, 2


def make_spells(work: Path, given: FinetuneSettings) -> tuple[FinetuneSettings, list[PatternQuestion]]:
    """Write words, tokenizer and a model of random weights into `work`; returns how it is taught, and what is asked.

    Args:
        given: the settings that were asked for; what they leave open is chosen here.
    """
    source = random.Random(given.seed)
    words = _words(source)
    prompts = list(SPELLS)

    def line(word: str) -> str:
        prompt = source.choice(prompts)
        return f"{prompt} # {SPELLS[prompt]}".format(word=word)

    taught = [line(next(words)) for _ in range(TAUGHT)]
    held_out = [line(next(words)) for _ in range(HELD_OUT)]
    data = work / "spells.txt"
    data.write_text("\n".join(["# Spells", *taught, "# _EVAL_", *held_out]) + "\n", encoding="utf-8")
    model = work / "model"
    _make_model(model, taught, given.seed)
    questions = [
        PatternQuestion(
            "spell",
            prompt.format(word=word),
            re.escape(SPELLS[prompt].format(word="WORD")).replace("WORD", r"\w+"),
            re.escape(SPELLS[prompt].format(word=word)),
        )
        for word in [next(words) for _ in range(ASKED)]
        for prompt in prompts
    ]
    settings = replace(
        given,
        model=model,
        model_name="a model of random weights",
        data=(str(data),),
        epochs=given.epochs or EPOCHS,
        learning_rate=given.learning_rate or RATE,
        batch_size=BATCH,
        full=True,
        template="anweisung",
    )
    return settings, questions


def _words(source: random.Random) -> Iterator[str]:
    """Invented words, none of them twice."""
    seen: set[str] = set()
    while True:
        word = "".join(source.choice(BEGINNINGS) + source.choice(VOWELS) for _ in range(SYLLABLES))
        if word not in seen:
            seen.add(word)
            yield word.capitalize()


def _make_model(folder: Path, lines: list[str], seed: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _make_tokenizer(lines)
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
        **MODEL,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))


def _make_tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that has a token for each syllable and for the words of the spells."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    syllables = [beginning + vowel for beginning in BEGINNINGS for vowel in VOWELS]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        max_token_length=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*lines, *syllables], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
