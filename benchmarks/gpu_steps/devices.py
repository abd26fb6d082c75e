"""The step of `gpu.py` about several GPUs: the same round on one, on all with the whole model each, and on all with a part each."""

from __future__ import annotations

import gc
import time
from typing import Any

import torch

from benchmarks.gpu_steps.model import ALPHA, GIB, LENGTHS, MODULES, RANK, device_of, existing_model, sample_pairs
from benchmarks.gpu_steps.step import FigureRecorder, StepFailedError, StepNotRunError, StepSetting
from benchmarks.gpu_steps.training import RATE, fresh_folder
from wmkml.config import Settings
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.training.loop import NullWatcher, Watcher
from wmkml.training.rounds import RoundTrainer, TrainingRound
from wmkml.training.trainer_factory import make_ranked_trainer, make_trainer

SAMPLES = 180

LOSS_TOLERANCE = 0.01
"""How far the losses of a round may differ by its devices, as a share: rounding alone."""

WAYS = ((False, "auto"), (True, "ddp"), (True, "fsdp"))
"""Whether all GPUs train, and what each holds (`finetuning.parallel`)."""


def devices(setting: StepSetting, record: FigureRecorder) -> None:
    """A round of 180 samples on one GPU, then on all of them by either way: speed, memory, losses, the adapter's hash.

    In a trial of the script on a CPU: in one process, and in two.
    """
    on_gpu = device_of(setting).type == "cuda"
    count = torch.cuda.device_count() if on_gpu else 2
    if count < 2:
        raise StepNotRunError("there is one GPU")
    model, folder = existing_model(setting), fresh_folder(setting, "devices")
    pairs = sample_pairs(load_tokenizer(model), SAMPLES, 0)
    lines = list[dict[str, Any]]()
    for number, (several, parallel) in enumerate(WAYS):
        tuning = {
            "precision": setting.precision,
            "parallel": parallel,
            "lora_r": RANK,
            "lora_alpha": ALPHA,
            "lora_dropout": 0.0,
            "lora_target_modules": list(MODULES),
            "max_length": max(LENGTHS),
        }
        if parallel == "fsdp" and setting.precision == "nf4":
            tuning["precision"] = "bfloat16"
        settings = Settings.model_validate({"finetuning": tuning})
        job = TrainingRound(pairs, RATE, 0, None, folder / f"iteration-{number}")
        began = time.perf_counter()
        if several:
            ranked = make_ranked_trainer(settings, model, count, threads=0 if on_gpu else count, nice=False)
            try:
                loading_seconds = time.perf_counter() - began
                result = ranked.train_weights(job, NullWatcher())
                # It raises where the processes have unlike weights.
                ranked.save_adapter(job.folder)
                peaks = ranked.pool.call(_peak_gib, NullWatcher())
            finally:
                ranked.close()
        else:
            single = make_trainer(settings, model)
            loading_seconds = time.perf_counter() - began
            result = single.train(job, NullWatcher()).result
            peaks = [_peak_gib(single, NullWatcher())]
            # The first of all GPUs is needed whole.
            del single
            gc.collect()
            if on_gpu:
                torch.cuda.empty_cache()
        lines.append(
            {
                "devices": count if several else 1,
                "parallel": parallel if several else "-",
                "loading_seconds": loading_seconds,
                "tokens_a_second": result.tokens / result.seconds,
                "losses": result.losses,
                "peak_gib": peaks,
                "micro_batch_tokens": result.micro_batch_tokens,
            }
        )
        record(ways=lines)
        for loss, single in zip(result.losses, lines[0]["losses"], strict=True):
            if abs(loss - single) > LOSS_TOLERANCE * abs(single):
                raise StepFailedError(
                    f"{parallel} on {lines[-1]['devices']} devices has a loss of {loss:.4f}, one has {single:.4f}"
                )
    record(gain_ddp=lines[1]["tokens_a_second"] / lines[0]["tokens_a_second"])
    record(gain_fsdp=lines[2]["tokens_a_second"] / lines[0]["tokens_a_second"])


def _peak_gib(trainer: RoundTrainer, _watcher: Watcher) -> float:
    return torch.cuda.max_memory_allocated() / GIB if trainer.base.device.type == "cuda" else 0.0
