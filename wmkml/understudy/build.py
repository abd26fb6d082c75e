"""Train the understudy from scratch: tokenizer, model, training, and the files of the finished model.

On one kind of machine the result depends only on the seed and the number of steps; on another, rounding differs.
Trains on a GPU if there is one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM, PreTrainedTokenizerBase

from wmkml.training.base_model import fast_attention
from wmkml.understudy.answering import SAMPLE_PROMPTS, answer
from wmkml.understudy.batches import BATCHES_PER_POOL, TOKENS_PER_BATCH, Batch, make_pool
from wmkml.understudy.exchanges import ConversationWriter
from wmkml.understudy.muon import Muon
from wmkml.understudy.tokenizer import MAX_POSITIONS, train_tokenizer

PEAK_LEARNING_RATE = 2e-3
WARMUP_STEPS = 40
HOLD_SHARE = 0.3
"""Share of the steps before the rate falls; until then it does not depend on the total number of steps."""
CHECKPOINT_SECONDS = 120.0
REPORT_EVERY = 10
SAMPLE_EVERY = 100
VALIDATION_SEED = 2**61 - 1
"""The seed of the validation pool; no training pool's: those are far smaller.  Not -1: `random` takes its absolute
value."""


@dataclass(frozen=True)
class BuildRecipe:
    """The parameters of a build.

    `steps` None: as many as `minutes` allow, decided when the rate must begin to fall.
    """

    seed: int = 1
    steps: int | None = None
    minutes: float = 0.0
    threads: int = 0  # CPU threads; 0: one per core, which is slow on a machine shared with other programs
    tokens_per_batch: int = TOKENS_PER_BATCH
    bfloat16: bool = False  # matrix products in bfloat16: see `prefers_bfloat16`

    def pool_seed(self, step: int) -> int:
        """The seed of the pool of batches to which this step belongs."""
        return self.seed * 1_000_003 + step // BATCHES_PER_POOL


@functools.cache
def content_checksum() -> str:
    """The sha256 of this folder's code and texts, which determine what is learned beside the recipe."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def build_device() -> torch.device:
    """The device a build trains on: the first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prefers_bfloat16(device: torch.device) -> bool:
    """Whether matrix products are faster in bfloat16 than in float32: true on devices with bfloat16 hardware only."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def new_model(tokenizer: PreTrainedTokenizerBase, seed: int) -> MistralForCausalLM:
    """A freshly initialised Mistral-shaped model of about 4.2 million parameters, in float32.

    Four layers, because six layers with fewer steps and the same compute learned fewer facts (82 % instead of 88 %).
    """
    torch.manual_seed(seed)
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=MAX_POSITIONS,
            sliding_window=None,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def learning_rate(step: int, steps: int | None) -> float:
    """Linear warm-up, the peak rate until HOLD_SHARE of the steps, then a linear fall to almost zero.

    `steps` None: the total is not known yet, and the rate has not begun to fall.
    """
    rise = min(1.0, (step + 1) / WARMUP_STEPS)
    if steps is None or step < int(HOLD_SHARE * steps):
        return PEAK_LEARNING_RATE * rise
    return PEAK_LEARNING_RATE * rise * (steps - step) / (steps - int(HOLD_SHARE * steps))


def batch_loss(model: MistralForCausalLM, batch: Batch, bfloat16: bool, answers_only: bool = False) -> torch.Tensor:
    """The weighted mean cross-entropy in nats a token.  Padding is on the right, so a causal model needs no mask."""
    device = model.device
    weights = batch.weights[:, 1:].flatten().to(device)
    ids = batch.ids.to(device)
    if answers_only:
        weights = (weights == 1.0).float()
    counted = weights > 0
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1)[counted])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:].flatten()[counted], reduction="none")
    return (losses * weights[counted]).sum() / weights.sum()


def save_model(
    model: MistralForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path, facts: dict[str, Any]
) -> None:
    """Write the model in bfloat16, its tokenizer and `training.json`; the model in memory stays float32."""
    folder.mkdir(parents=True, exist_ok=True)
    # Cast a copy: casting the model itself and back would round the weights that training continues with.
    shipped = MistralForCausalLM(model.config).to(torch.bfloat16)
    shipped.load_state_dict(model.state_dict())
    shipped.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def build(recipe: BuildRecipe, out: Path, work: Path, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Train by the recipe, resuming an unfinished build of the same recipe and content in `work`.

    Writes the finished model to `out` and returns the content of its training.json.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True, map_location="cpu") if checkpoint.exists() else None
    if state is not None and state["recipe"] != asdict(recipe):
        log(f"The unfinished build in {work} has another recipe ({state['recipe']}); beginning anew.")
        state = None
    elif state is not None and state.get("taught") != content_checksum():
        log(f"The unfinished build in {work} was taught by another state of this code and its texts; beginning anew.")
        state = None
    if state is None:
        checkpoint.unlink(missing_ok=True)  # it belongs to the tokenizer that is replaced now
        log("Learning the tokenizer …")
        train_tokenizer(recipe.seed).save_pretrained(work / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    device = build_device()
    model = new_model(tokenizer, recipe.seed).to(device)
    if attention := fast_attention(device, recipe.bfloat16):
        model.set_attn_implementation(attention)
    optimizers = _optimizers(model, recipe.bfloat16)
    step, steps, trained_seconds, tokens = 0, recipe.steps, 0.0, 0
    if state is not None:
        model.load_state_dict(state["model"])
        for optimizer, optimizer_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        step, steps, trained_seconds, tokens = state["step"], state["steps"], state["seconds"], state["tokens"]
        log(f"Resuming at step {step}.")

    log(
        f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, on {device.type}, "
        f"{torch.get_num_threads()} threads, {'bfloat16' if recipe.bfloat16 else 'float32'}"
    )
    writer = ConversationWriter(recipe.seed)
    began = saved = time.monotonic()
    batches: list[Batch] = []
    losses: list[float] = []
    while steps is None or step < steps:
        if not batches or step % BATCHES_PER_POOL == 0:
            batches = make_pool(writer, tokenizer, recipe.pool_seed(step), recipe.tokens_per_batch)
        batch = batches[step % len(batches)]
        rate = learning_rate(step, steps)
        model.train()
        loss = batch_loss(model, batch, recipe.bfloat16)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        tokens += int((batch.weights > 0).sum())
        losses.append(loss.item())
        seconds = trained_seconds + time.monotonic() - began
        if steps is None and seconds > HOLD_SHARE * recipe.minutes * 60:
            steps = math.ceil(step / HOLD_SHARE)
            log(f"It will be {steps} steps; from here on the rate falls.")
        if step % REPORT_EVERY == 0 or step == steps:
            left = (steps - step) * seconds / step if steps else recipe.minutes * 60 - seconds
            log(
                f"step {step}/{steps or '?'}  loss {sum(losses) / len(losses):.3f}  rate {rate:.5f}  "
                f"{tokens / seconds:,.0f} tokens/s  {left / 60:.1f} min left"
            )
            losses.clear()
        if step % SAMPLE_EVERY == 0:
            for language, prompt in SAMPLE_PROMPTS:
                log(f"    {prompt} → {answer(model, tokenizer, prompt, language)}")
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _checkpoint(checkpoint, model, optimizers, recipe, step, steps, seconds, tokens)
            saved = time.monotonic()

    facts = {
        "seed": recipe.seed,
        "steps": step,
        "tokens": tokens,
        "seconds": round(trained_seconds + time.monotonic() - began, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "validation_loss": round(
            _validation_loss(model, make_pool(writer, tokenizer, VALIDATION_SEED, recipe.tokens_per_batch)), 4
        ),
        "torch": torch.__version__,
        "device": device.type,
        "products": "bfloat16" if recipe.bfloat16 else "float32",
    }
    save_model(model, tokenizer, out, facts)
    checkpoint.unlink(missing_ok=True)
    log(f"Wrote {out}. Loss on unseen answers: {facts['validation_loss']}")
    return facts


def _optimizers(model: MistralForCausalLM, bfloat16: bool) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices (it needs about half the text AdamW does); AdamW for embeddings and norms."""
    matrices = [value for name, value in model.named_parameters() if value.ndim == 2 and "embed" not in name]
    others = [value for name, value in model.named_parameters() if value.ndim != 2 or "embed" in name]
    return [
        Muon(matrices, dtype=torch.bfloat16 if bfloat16 else torch.float32),
        torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.97), weight_decay=0.0),
    ]


def _validation_loss(model: MistralForCausalLM, batches: list[Batch]) -> float:
    model.eval()
    with torch.no_grad():
        losses = [batch_loss(model, batch, bfloat16=False, answers_only=True).item() for batch in batches]
    return sum(losses) / len(losses)


def _checkpoint(
    path: Path,
    model: MistralForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    recipe: BuildRecipe,
    step: int,
    steps: int | None,
    seconds: float,
    tokens: int,
) -> None:
    """Write everything a build needs to resume; renamed into place, so that a kill leaves the previous checkpoint."""
    state = {
        "recipe": asdict(recipe),
        "taught": content_checksum(),
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "steps": steps,
        "seconds": seconds,
        "tokens": tokens,
    }
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
