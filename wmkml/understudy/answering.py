"""Asks a model of the understudy's kind one thing and returns its answer.  For builds, the command line and tests; no engine."""

from __future__ import annotations

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


def load(folder: Path = MODEL_FOLDER) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 and its tokenizer.  Raises OSError where the folder holds no model."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
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
