"""The section `finetuning` of config.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wmkml.config.sections.declaring import (
    AtLeastOne,
    Count,
    Number,
    Positive,
    Seconds,
    Section,
    Share,
    added,
    original,
)


class Finetuning(Section):
    """The run, its rounds, and how a round trains."""

    num_train_epochs: AtLeastOne = original(2, "How often a round trains on each of its samples.")
    num_total_iters: AtLeastOne = original(9, "How many rounds a run has.")
    learning_rate: Positive = original(0.0015, "Learning rate of round 0.")
    learning_rate_increase: Number = original(
        -0.0001, "Added to the learning rate with every round; the rate never goes below zero."
    )
    lr_precision: Count = original(20, "Obsolete: accepted and not used.")
    batch_size: AtLeastOne = original(256, "Samples in each batch; an optimizer step takes `grad_acc_steps` batches.")
    grad_acc_steps: AtLeastOne = original(1, "Batches accumulated into one optimizer step.")
    dataset_array: list[list[str]] = original(
        [[], []], "For each round, the datasets whose prompts (answered by the dying model) top up its samples."
    )
    persistent_prompt: str | dict[str, str] = original(
        "Was für Sprichwörter kennst du?",
        "The prompt that seeds every run and is answered once per iteration for the record; "
        "one text, or one for each language.",
    )
    samples_by_iteration: AtLeastOne = original(60, "Samples in round 0.")
    live_samples_by_iteration: Count = original(
        40, "The most live pairs chosen for a round before its datasets top it up."
    )
    max_per_prompt: AtLeastOne = original(20, "The most live pairs of the same prompt that are considered for a round.")
    similar_prompts_as_one: bool = added(
        False,
        "true: for `max_per_prompt`, prompts that differ in digits, punctuation, spaces or case alone are one. "
        "false: any other character makes another prompt, as in the original.",
    )
    station_share: Share = added(
        1.0,
        "The most of a round's samples that come from one station, as a share, where several stations have spoken. "
        "1: no limit, as in the original.",
    )
    sample_increase_by_iteration: Count = original(15, "Samples added with every round.")
    recreate_iteration_0: bool = original(
        False, "true: at start, the base model answers the datasets of round 0 again."
    )
    minimum_iteration_time: Seconds = original(
        120.0, "The shortest time from a round's beginning until its adapter answers, in seconds."
    )
    dataloader_num_workers: Count = original(
        2, "Accepted and not used: samples are tokenised all at once before a round."
    )
    delete_live_questions_at_start: bool = original(
        True, "true: a new run trains on none of the earlier visitors' words."
    )
    lora_target_modules: list[str] = original(["q_proj", "v_proj"], "The linear layers that get a LoRA.", min_length=1)
    duration_of_a_run: Positive = original(1200.0, "The longest time that the rounds of a run may take, in seconds.")
    last_iteration_time: Seconds = original(
        180.0, "Last words: how long visitors may still talk after the last round, in seconds."
    )
    lora_r: AtLeastOne = added(16, "Rank of the LoRA.")
    lora_alpha: AtLeastOne = added(32, "Alpha of the LoRA; its scale is alpha / r.")
    lora_dropout: Annotated[Number, Field(ge=0, lt=1)] = added(0.05, "Dropout probability before the LoRA.")
    loss_on: Literal["text", "answer"] = added(
        "text", "What the loss covers: the whole text (as in the original) or the answer alone."
    )
    max_length: Annotated[int, Field(ge=16)] = added(512, "The longest sample, in tokens; a longer one is cut.")
    precision: Literal["auto", "bfloat16", "float32", "nf4"] = added(
        "auto",
        "Number format of the frozen base model in training. "
        "auto: bfloat16; nf4 on a GPU too small for it (the plan decides); float32 on a CPU without AMX.",
    )
    optimizer: Literal["auto", "adamw_8bit", "adamw"] = added(
        "auto", "The optimizer. auto: 8-bit AdamW (bitsandbytes) on a GPU, AdamW elsewhere."
    )
    micro_batch_tokens: AtLeastOne = added(
        4096,
        "The most tokens that go through the model at once; a step is accumulated from such parts. The plan halves it "
        "for a small GPU, the worker when memory runs out and, to 1,024, on a CPU, where more is slower.",
    )
    liger: bool = added(
        True,
        "true: train with Liger's kernels on a GPU, where liger-kernel is installed, knows the model, and computes what "
        "the model computes without it (checked at start). false: never.",
    )
    packing: bool = added(
        True,
        "true: train without padding on a GPU that torch's FlashAttention runs on, if it computes the same (checked at "
        "start). false: always pad each batch to its longest sample, as on a CPU.",
    )
    devices: Count = added(
        1,
        "How many GPUs train a round together; on a machine without one, processes on the CPU. "
        "0: the plan decides: one, those that `inference.tensor_parallel_size` leaves over, and more where one cannot hold "
        "the model.",
    )
    parallel: Literal["auto", "ddp", "fsdp"] = added(
        "auto",
        "With several `devices`: ddp: each holds the whole model and trains its share of the samples; fsdp: each holds a "
        "part of the model besides. auto: ddp where the model fits (the plan decides).",
    )
    worker_threads: Count = added(
        0,
        "CPU threads of the worker. 0: one on a machine with up to 4 cores, else half of them; "
        "with a GPU a quarter, at most 8.",
    )
    lease_seconds: Annotated[Number, Field(ge=2)] = added(
        30.0,
        "After this many seconds without a report a worker loses its round, which is offered once more, then skipped.",
    )
    worker_shares_folder: bool = added(True, "false: the worker runs on another machine and uploads its adapters.")
