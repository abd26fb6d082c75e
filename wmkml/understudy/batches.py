"""Turn generated conversations into training batches: token ids, and each token's weight in the loss.

Any pool of batches can be made without the pools before it, so that a build can resume.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from wmkml.understudy.exchanges import Conversation, ConversationWriter

TOKENS_PER_BATCH = 3072
BATCHES_PER_POOL = 16
PROMPT_SHARE, PROMPT_WEIGHT = 0.2, 0.5
"""Share of the prompt tokens in the loss, and their weight (an answer token has 1).  Prompts are learned a little: a
run finetunes on them too and would otherwise start with a very high loss; a fifth suffices and saves logits."""
MAX_TOKENS = 384
"""Conversations are truncated to this many tokens, as a safeguard: the longest have about 200."""
CONVERSATIONS_PER_CALL = 128
"""Conversations tokenized per call; smaller calls cost more time than training on them."""


@dataclass(frozen=True)
class Batch:
    """Padded ids and loss weights, both of shape (conversations, tokens); weights are 0 on padding."""

    ids: torch.Tensor
    weights: torch.Tensor


Row = tuple[list[int], list[float]]


def encode(tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Conversation], rng: random.Random) -> list[Row]:
    """For each conversation, its token ids in the chat template and each token's weight in the loss.

    `rng` chooses the prompt tokens that count.
    """
    texts = [tokenizer.apply_chat_template(conversation.messages, tokenize=False) for conversation in conversations]
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


def make_pool(
    writer: ConversationWriter, tokenizer: PreTrainedTokenizerBase, seed: int, tokens: int = TOKENS_PER_BATCH
) -> list[Batch]:
    """BATCHES_PER_POOL batches of about `tokens` tokens, each of conversations of similar length, in random order."""
    writer.reseed(seed)
    rng = random.Random(seed)
    wanted, total, rows = tokens * BATCHES_PER_POOL, 0, list[Row]()
    while total < wanted:
        for row in encode(tokenizer, [writer.write_conversation() for _ in range(CONVERSATIONS_PER_CALL)], rng):
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
