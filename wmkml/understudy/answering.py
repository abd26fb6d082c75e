"""Asks a model of the understudy's kind one thing, or many at once.  For builds, examinations and tests; no engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from wmkml.understudy.exchanges import SYSTEM_PROMPTS

MODEL_FOLDER = Path(__file__).with_name("model")
SHOWN_PROMPTS = (
    ("de", "Was für Sprichwörter kennst du?"),
    ("de", "Was ist eine Katze?"),
    ("en", "Where does the whale live?"),
    ("en", "Who are you?"),
    ("de", "Was ist ein Quirlfock?"),
)


AT_ONCE = 128
"""So many prompts are answered together by `answers`."""


def load(folder: Path = MODEL_FOLDER, adapter: Path | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32, with a LoRA adapter in PEFT's form merged into it if one is named, and its tokenizer.

    Raises OSError or ValueError where a folder holds no model, or no adapter of it.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    language: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 96,
) -> str:
    """The answer to one prompt, under the language's system prompt (none: without one).  Temperature 0 is greedy."""
    system = [{"role": "system", "content": SYSTEM_PROMPTS[language]}] if language else []
    text = tokenizer.apply_chat_template([*system, {"role": "user", "content": prompt}], tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    model.eval()
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_p": 0.9, "top_k": 0}
        if temperature
        else {"do_sample": False}
    )
    out = model.generate(**ids, max_new_tokens=max_tokens, pad_token_id=tokenizer.pad_token_id, **sampling)
    return str(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


@torch.no_grad()
def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[str, str]],
    max_tokens: int = 64,
    told: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """The greedy answers to (prompt, language) pairs, each under its language's system prompt, in their order.

    `told` hears how many are done.  Typed markup in a prompt is not looked for: what is asked here is our own.
    """
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "system", "content": SYSTEM_PROMPTS[language]}, {"role": "user", "content": prompt}],
            tokenize=False,
        )
        for prompt, language in asked
    ]
    # Together with others of like length, so that little is padded.
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = [""] * len(texts)
    for start in range(0, len(order), AT_ONCE):
        places = order[start : start + AT_ONCE]
        batch = tokenizer(
            [texts[place] for place in places], add_special_tokens=False, padding=True, return_tensors="pt"
        ).to(model.device)
        out = model.generate(**batch, max_new_tokens=max_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        said = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for place, text in zip(places, said, strict=True):
            found[place] = text.strip()
        told(start + len(places))
    return found
