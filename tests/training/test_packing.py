"""A packed batch learns what a padded one learns, and the loss in parts is torch's cross-entropy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.training.tiny_model import CPU, PAIRS, base_of, make_tiny_model, trainer_of
from tests.training.tiny_rounds import RATE, RecordingWatcher
from wmkml.training import loop, loss
from wmkml.training.batching import pack_batch, packed_batches, tokens_of
from wmkml.training.kernels import document_attention
from wmkml.training.loop import NullWatcher, Recipe, train
from wmkml.training.lora import lora_parameters
from wmkml.training.rounds import RoundTrainer
from wmkml.training.samples import IGNORED, TokenizedSample, tokenize_pairs


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


# --- the loss in parts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_in_parts_and_its_gradient_are_those_of_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(3, 7, 11)).to(dtype).requires_grad_()
    labels = torch.randint(11, (3, 7)).masked_fill(torch.rand(3, 7) < 0.3, IGNORED)
    plain = cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    (plain / 13).backward()  # type: ignore[no-untyped-call]
    expected, logits.grad = logits.grad, None
    # Several parts, the last one smaller.
    monkeypatch.setattr(loss, "PART_OF_CPU", 4 * 11)
    in_parts = loss.token_losses(logits, labels, 13)
    (2 * in_parts).backward()  # type: ignore[no-untyped-call]
    assert float(in_parts.detach()) == pytest.approx(float(plain.detach()) / 13, rel=1e-6)
    assert expected is not None and logits.grad is not None and logits.grad.dtype == dtype
    assert torch.allclose(logits.grad, 2 * expected, rtol=1e-5, atol=1e-7)


def test_what_is_not_finite_in_rows_without_a_target_does_not_count_and_elsewhere_it_does() -> None:
    logits = torch.zeros(1, 3, 5).masked_fill(torch.tensor([False, True, True])[None, :, None], float("nan"))
    logits.requires_grad_()
    ignored = loss.token_losses(logits, torch.tensor([[1, 2, IGNORED]]), 1)
    ignored.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(ignored) and logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    assert torch.isnan(loss.token_losses(logits, torch.tensor([[1, 2, 3]]), 1))


# --- batches without padding ----------------------------------------------------------------------------------------


def of_lengths(*lengths: int) -> list[TokenizedSample]:
    return [TokenizedSample(tuple(range(length)), tuple(range(length))) for length in lengths]


def test_packed_batches_hold_the_limit_lose_nothing_and_leave_little_room() -> None:
    samples = of_lengths(3, 90, 14, 15, 16, 30, 2)
    batches = packed_batches(samples, 60)
    assert sorted(len(sample.ids) for batch in batches for sample in batch) == [2, 3, 14, 15, 16, 30, 90]
    assert [tokens_of(batch, True) for batch in batches] == [90, 60, 20]
    assert tokens_of(samples, False) == 7 * 90


def test_a_packed_batch_tells_where_samples_begin_and_no_sample_predicts_the_next() -> None:
    ids, labels, arguments = pack_batch(of_lengths(3, 2), CPU)
    assert ids.tolist() == [[0, 1, 2, 0, 1]]
    assert labels.tolist() == [[IGNORED, 1, 2, IGNORED, 1]]
    assert arguments["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert arguments["cu_seq_lens_q"].tolist() == [0, 3, 5] and arguments["max_length_q"] == 3
    assert arguments["cu_seq_lens_q"].dtype == torch.int32


def gradients(trainer: RoundTrainer, packed: bool, limit: int) -> tuple[float, torch.Tensor]:
    """The loss of one step over PAIRS, and the LoRA's gradient before it is used."""
    samples = tokenize_pairs(trainer.base.tokenizer, PAIRS, 512, "text")
    taken: dict[str, torch.Tensor] = {}
    hooks = [
        parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
            lambda parameter, name=name: taken.__setitem__(name, parameter.grad.clone())
        )
        for name, parameter in lora_parameters(trainer.model).items()
    ]
    recipe = Recipe(0.0, 1, 256, limit, "adamw", max_grad_norm=float("inf"), packed=packed)
    losses = train(trainer.model, samples, recipe, NullWatcher()).losses
    for hook in hooks:
        hook.remove()
    return losses[0], torch.cat([taken[name].flatten() for name in sorted(taken)])


@pytest.mark.parametrize("limit", [100_000, 150], ids=["one batch", "accumulated"])
def test_a_packed_batch_has_the_loss_and_the_gradients_of_a_padded_one(model_folder: Path, limit: int) -> None:
    trainer = trainer_of(model_folder)
    # With B still zero the gradient of A is zero too.
    train(
        trainer.model,
        tokenize_pairs(trainer.base.tokenizer, PAIRS, 512, "text"),
        Recipe(RATE, 1, 4, 4096, "adamw"),
        NullWatcher(),
    )
    loss_of_padded, of_padded = gradients(trainer, False, limit)
    loss_of_packed, of_packed = gradients(trainer, True, limit)
    assert loss_of_packed == pytest.approx(loss_of_padded, rel=1e-5)
    assert float(of_padded.norm()) > 1e-3
    assert float((of_packed - of_padded).norm() / of_padded.norm()) < 1e-4
    assert trainer.base.model.config._attn_implementation == "sdpa", "afterwards it attends as before"


def test_no_sample_sees_another_one(model_folder: Path) -> None:
    base = base_of(model_folder)
    pairs = [TokenizedSample((5, 6, 7, 8), (5, 6, 7, 8)), TokenizedSample((9, 10, 11), (9, 10, 11))]
    with torch.no_grad(), document_attention.document_attention(base.model):
        ids, _, arguments = pack_batch(pairs, CPU)
        before = base.model(input_ids=ids, use_cache=False, **arguments).logits
        ids[0, :4] = torch.tensor([20, 21, 22, 23])
        after = base.model(input_ids=ids, use_cache=False, **arguments).logits
    assert torch.equal(before[0, 4:], after[0, 4:])
    assert not torch.allclose(before[0, :4], after[0, :4], atol=1e-3)


def test_attention_with_more_than_causal_softmax_is_not_packed() -> None:
    rows = torch.zeros(1, 2, 5, 8)
    starts = torch.tensor([0, 5], dtype=torch.int32)
    call: dict[str, Any] = {"cu_seq_lens_q": starts, "max_length_q": 5}
    document_attention.attend(torch.nn.Identity(), rows, rows, rows, None, sliding_window=5, **call)
    for more in ({"softcap": 30.0}, {"sliding_window": 4}, {"dropout": 0.1}):
        with pytest.raises(NotImplementedError, match="cannot be packed"):
            document_attention.attend(torch.nn.Identity(), rows, rows, rows, None, **call, **more)


def test_flash_attention_is_given_rows_and_their_beginnings(monkeypatch: pytest.MonkeyPatch) -> None:
    # Replaces the only call that needs a GPU; what it must be given is in torch's documentation of varlen_attn.
    from torch.nn.attention import varlen

    def stand_in(query: torch.Tensor, key: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
        assert query.shape == (5, 4, 8) and key.shape == (5, 2, 8) and query.dtype == torch.bfloat16
        assert more[1:] == (starts, starts, 3, 3)
        assert named == {"scale": 0.5, "window_size": (-1, 0), "enable_gqa": True}
        return query

    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    starts = torch.tensor([0, 3, 5], dtype=torch.int32)
    rows = [torch.ones(5, heads, 8) for heads in (4, 2, 2)]
    assert document_attention._flash(rows, starts, 3, 0.5).dtype == torch.float32


def test_out_of_memory_halves_a_packed_batch(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(model_folder)
    samples = tokenize_pairs(trainer.base.tokenizer, PAIRS, 512, "text")
    recipe = Recipe(RATE, 1, 256, 4096, "adamw", packed=True)
    whole = train(trainer.model, samples, replace(recipe, learning_rate=0.0), NullWatcher())
    room = tokens_of(samples, True) // 2

    def full(batch: list[TokenizedSample], device: torch.device) -> Any:
        if tokens_of(batch, True) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return pack_batch(batch, device)

    monkeypatch.setattr(loop, "pack_batch", full)
    watcher = RecordingWatcher()
    halved = train(trainer.model, samples, replace(recipe, learning_rate=0.0), watcher)
    assert halved.micro_batch_tokens <= room and len(watcher.notices) == 1
    assert halved.losses == pytest.approx(whole.losses, rel=1e-5)
