"""Answer prompts with an understudy model in transformers, without an engine: for builds, examinations and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from wmkml.understudy.exchanges import SYSTEM_PROMPTS

MODEL_FOLDER = Path(__file__).with_name("model")
SAMPLE_PROMPTS = (
    ("de", "Was für Sprichwörter kennst du?"),
    ("de", "Was ist eine Katze?"),
    ("en", "Where does the whale live?"),
    ("en", "Who are you?"),
    ("de", "Was ist ein Quirlfock?"),
)
"""(language, prompt) pairs whose answers a build prints as it goes."""

PROMPTS_PER_BATCH = 128
"""Prompts that `answer_all` generates for at once; bounds its memory."""


def load_model(
    folder: Path = MODEL_FOLDER, adapter: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 and its tokenizer; `adapter`: a LoRA adapter in PEFT's format to merge into it.

    Raises OSError or ValueError if a folder holds no model, or no adapter for it.
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
    """The answer to one prompt, with the language's system prompt (None: without one).  Temperature 0 is greedy."""
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
def answer_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[str, str]],
    max_tokens: int = 64,
    on_answered: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """The greedy answers to (prompt, language) pairs, each with its language's system prompt, in order.

    `on_answered` is called with the number of finished answers.  Chat markup in prompts is not escaped: only prompts
    of our own are passed here.
    """
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "system", "content": SYSTEM_PROMPTS[language]}, {"role": "user", "content": prompt}],
            tokenize=False,
        )
        for prompt, language in prompts
    ]
    # Batches of similar length need little padding.
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    answers = [""] * len(texts)
    for start in range(0, len(order), PROMPTS_PER_BATCH):
        indices = order[start : start + PROMPTS_PER_BATCH]
        batch = tokenizer(
            [texts[index] for index in indices], add_special_tokens=False, padding=True, return_tensors="pt"
        ).to(model.device)
        out = model.generate(**batch, max_new_tokens=max_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        decoded = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(indices, decoded, strict=True):
            answers[index] = text.strip()
        on_answered(start + len(indices))
    return answers
