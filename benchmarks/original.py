"""One round trained as in the original installation: `transformers.Trainer`, every sample padded to 512 tokens.

The baseline of `round.py` and of the test that compares our loop with the original's recipe.  Written from its
description alone: dropout and rank come with the model; the whole templated text is the target; the pad token is the
end token, and so masked; AdamW without weight decay, linear decay without warm-up, gradients clipped at 1.0.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

LENGTH = 512


def templated(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Every exchange in the chat template, without system prompt, truncated and padded to LENGTH tokens."""
    tokenizer.pad_token = tokenizer.eos_token
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], tokenize=False
        )
        for prompt, answer in pairs
    ]
    return [
        dict(
            tokenizer(
                text,
                add_special_tokens=False,
                padding="max_length",
                truncation=True,
                max_length=LENGTH,
                padding_side="right",
                return_token_type_ids=False,
            )
        )
        for text in texts
    ]


def train_as_the_original(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    learning_rate: float,
    epochs: int = 2,
    batch_size: int = 256,
    bf16: bool = False,
    seed: int = 0,
    norms: list[float] | None = None,
) -> list[float]:
    """Train a PEFT model on (prompt, answer) pairs with a new Trainer; returns the loss of every step.

    Args:
        norms: the norm of every step's gradients is added to it.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=1,
            learning_rate=learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=1.0,
            optim="adamw_torch",
            bf16=bf16,
            seed=seed,
            use_cpu=model.device.type == "cpu",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=templated(tokenizer, pairs),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        )
        for printing in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(printing)
        trainer.train()
    if norms is not None:
        norms += [entry["grad_norm"] for entry in trainer.state.log_history if "loss" in entry]
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
