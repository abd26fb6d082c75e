"""Turns generated conversations into training batches: token ids, and how much each token counts in the loss.

Knows the writer and the tokenizer; knows no model.  Any batch can be made without those before it, so that a build can resume.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from wmkml.understudy.exchanges import Conversation, Writer

TOKENS_PER_BATCH = 3072
BATCHES_PER_POOL = 16
PROMPT_SHARE, PROMPT_WEIGHT = 0.2, 0.5
"""One prompt token of five counts, half as much as an answer's.  Prompts are learned lightly: a run finetunes on them too, and a model
that never saw one predicted would lurch.  Of tokens that do not count no logits are computed."""
MAX_TOKENS = 384
AT_ONCE = 128  # conversations tokenised in one go: many small calls take longer than the training of some of them


@dataclass(frozen=True)
class Batch:
    """Padded ids and loss weights, both of shape (conversations, tokens); weights are 0 on padding."""

    ids: torch.Tensor
    weights: torch.Tensor


Row = tuple[list[int], list[float]]


def encode(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], rng: random.Random) -> list[Row]:
    """Of each conversation the token ids as the chat template writes them, and each token's weight in the loss.

    `rng` decides which tokens of prompts count.
    """
    texts = [tokenizer.apply_chat_template(one.messages, tokenize=False) for one in conversations]
    answer, end = tokenizer.convert_tokens_to_ids("[/INST]"), tokenizer.eos_token_id
    rows = []
    for whole in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        ids: list[int] = whole[:MAX_TOKENS]
        weights, answering = [], False
        for token in ids:
            weights.append(1.0 if answering else PROMPT_WEIGHT if rng.random() < PROMPT_SHARE else 0.0)
            answering = token == answer or (answering and token != end)
        rows.append((ids, weights))
    return rows


def pool(writer: Writer, tokenizer: PreTrainedTokenizerBase, seed: int, tokens: int = TOKENS_PER_BATCH) -> list[Batch]:
    """BATCHES_PER_POOL batches of about `tokens` tokens, each of conversations of like length, in random order."""
    writer.reseed(seed)
    rng = random.Random(seed)
    wanted, total, rows = tokens * BATCHES_PER_POOL, 0, list[Row]()
    while total < wanted:
        for row in encode(tokenizer, [writer.conversation() for _ in range(AT_ONCE)], rng):
            if total < wanted:
                rows.append(row)
                total += len(row[0])
    rows.sort(key=lambda row: len(row[0]))
    groups: list[list[Row]] = [[] for _ in range(BATCHES_PER_POOL)]
    done = 0
    for row in rows:
        groups[min(done * BATCHES_PER_POOL // total, BATCHES_PER_POOL - 1)].append(row)
        done += len(row[0])
    rng.shuffle(groups)
    return [_padded(group, int(tokenizer.eos_token_id)) for group in groups if group]


def _padded(rows: list[Row], end: int) -> Batch:
    length = max(len(ids) for ids, _ in rows)
    return Batch(
        ids=torch.tensor([ids + [end] * (length - len(ids)) for ids, _ in rows]),
        weights=torch.tensor([weights + [0.0] * (length - len(weights)) for _, weights in rows]),
    )
