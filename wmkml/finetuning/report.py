"""What is shown and written of a finetune: before it begins, and when it is done."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from wmkml.finetuning import output
from wmkml.finetuning.comparison import answers_table, diversity_lines
from wmkml.finetuning.preparation.estimate import GIB, Prediction
from wmkml.finetuning.preparation.prepare import Preparation
from wmkml.finetuning.preparation.preview import coloured_sample, duration, prediction_lines, sample_record
from wmkml.finetuning.progress import terminal_plot
from wmkml.finetuning.session import Finetuned

SHOWN_TOKENS = 20
"""Tokens that the base never learned, of which so many are named."""


def show_preparation(preparation: Preparation, prediction: Prediction) -> None:
    """Print what was read, the first sample token by token, and what the finetune will take."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    plan, words, held_out = preparation, preparation.words, preparation.held_out
    settings, recipe = plan.settings, plan.recipe
    for sentence in words.left_out:
        console.print(f"left out: {sentence}")
    if (more := words.left_out_count - len(words.left_out)) > 0:
        console.print(f"left out: {more:,} more")
    refused = sum(corpus.counts().refused for corpus in plan.corpora)
    if refused:
        console.print(f"{refused:,} lines could not be read; `wmkml corpus` names each of them.")
    console.print(
        f"{len(words.store):,} samples of {words.store.tokens:,} tokens to learn, "
        f"{len(held_out.store):,} to evaluate with{', and these are among them' if plan.on_training else ''}"
    )
    if plan.on_training:
        console.print(
            "There is no evaluation part: what is evaluated is what was trained on. --hold-out 0.1 makes one."
        )
    if words.truncated:
        console.print(
            f"{words.truncated:,} samples are cut at {min(settings.max_length, plan.architecture.window)} tokens and do not "
            "learn to end there."
        )
    console.print(
        f"\nThe first sample (line {words.store.place(0)}), template {plan.template.name}; coloured: what is trained"
    )
    console.print(coloured_sample(plan.tokenizer, words.store[0]))
    where = f"a LoRA of rank {settings.lora.rank} in {', '.join(plan.targets)}" if plan.targets else "all weights"
    console.print(
        f"\n{settings.model_name} ({plan.architecture.kind}, {plan.architecture.parameters:,} weights, {plan.precision}) "
        f"on {plan.device_name}: {where}, {plan.trained:,} trained weights"
    )
    if plan.unlearned:
        texts = " ".join(plan.tokenizer.convert_ids_to_tokens(list(plan.unlearned[:SHOWN_TOKENS])))
        console.print(
            f"The base never learned the tokens {texts}: they are all the same to it, and only its output layer, "
            f"{plan.architecture.output.short_name}, can tell them apart"
            + (
                ", so the LoRA goes there too. vLLM takes no such adapter: --merge writes a model that it serves."
                if plan.architecture.output.short_name in plan.targets
                else "."
            )
        )
    console.print(
        f"{recipe.epochs} epochs, {plan.steps:,} steps of {recipe.samples_per_step} samples, learning rate "
        f"{recipe.learning_rate:g} falling to 0"
    )
    for line in prediction_lines(prediction, plan.device_name):
        console.print(line)
    console.print()


def refusal_lines(prediction: Prediction) -> list[str]:
    """Why it is not begun."""
    lines = [line for line in prediction_lines(prediction, "device") if not line.startswith("Time")]
    return [*lines, "Nothing was begun. --anyway begins all the same."]


def preparation_record(preparation: Preparation, prediction: Prediction) -> dict[str, Any]:
    """The same for programs, and for run.json."""
    plan, words = preparation, preparation.words
    memory = prediction.memory
    return {
        "model": plan.settings.model_name,
        "architecture": plan.architecture.kind,
        "parameters": plan.architecture.parameters,
        "trained_parameters": plan.trained,
        "targets": list(plan.targets),
        "unlearned_tokens": plan.tokenizer.convert_ids_to_tokens(list(plan.unlearned)),
        "template": plan.template.name,
        "loss_on": plan.settings.loss_on,
        "precision": plan.precision,
        "device": plan.device_name,
        "samples": len(words.store),
        "tokens": words.store.tokens,
        "longest": words.store.longest(),
        "evaluation": 0 if plan.on_training else len(plan.held_out.store),
        "evaluation_on_training": plan.on_training,
        "left_out": words.left_out_count,
        "truncated": words.truncated,
        "epochs": plan.recipe.epochs,
        "steps": plan.steps,
        "samples_per_step": plan.recipe.samples_per_step,
        "learning_rate": plan.recipe.learning_rate,
        "seed": plan.settings.seed,
        "first_sample": sample_record(plan.tokenizer, words.store[0]),
        "predicted": {
            "memory_gib": round(memory.total / GIB, 3),
            "memory_parts_gib": {
                "process": round(memory.process / GIB, 3),
                "weights": round(memory.weights / GIB, 3),
                "training": round(memory.training / GIB, 3),
                "activations": round(memory.activations / GIB, 3),
                "merging": round(memory.merging / GIB, 3),
            },
            "available_gib": round(prediction.available / GIB, 3),
            "minutes": None if prediction.seconds is None else round(prediction.seconds / 60, 3),
            "fits": prediction.fits,
            "would_fit": [
                {"arguments": words, "memory_gib": round(size / GIB, 3)} for words, size in prediction.would_fit
            ],
        },
    }


def finish(preparation: Preparation, prediction: Prediction, finetuned: Finetuned) -> dict[str, Any]:
    """Write plot, model card and the last of run.json; returns all of it for programs."""
    folder, plan = finetuned.folder, preparation
    held_out = [{"step": evaluation.step, "loss": evaluation.loss} for evaluation in finetuned.held_out]
    outcome: dict[str, Any] = {
        "done": finetuned.done,
        "steps_done": len(finetuned.losses),
        "ended_early": finetuned.ended_early,
        "loss_first": finetuned.losses[0],
        "loss_last": finetuned.losses[-1],
        "held_out": held_out,
        "held_out_name": plan.held_out_name,
        "held_out_before": finetuned.held_out[0].loss,
        "held_out_after": _final_loss(finetuned),
        "diversity_before": finetuned.diversity_before,
        "diversity_after": finetuned.diversity_after,
        "measured": {"memory_gib": round(finetuned.peak / GIB, 3), "minutes": round(finetuned.seconds / 60, 3)},
    }
    record = {**preparation_record(plan, prediction), **outcome, "folder": str(folder)}
    output.update_details(folder, outcome)
    title = f"{plan.settings.model_name}, taught {', '.join(plan.settings.data)}"
    output.plot_losses(folder / output.PLOT_FILE, finetuned.losses, finetuned.held_out, title, plan.held_out_name)
    output.write_card(folder, plan.settings, plan.template, record)
    return record


def show_finetuned(
    preparation: Preparation, prediction: Prediction, finetuned: Finetuned, *, kept: bool = True
) -> None:
    """Print the plot, the answers before and after, diversity, and how far the prediction was off.

    Args:
        kept: the folder stays; an example's may not.
    """
    console = Console(highlight=False, markup=False)
    # Not by rich: the plot has its own colours.
    console.file.write(terminal_plot(finetuned.losses, finetuned.held_out, console.is_terminal) + "\n\n")
    first, last = finetuned.held_out[0].loss, _final_loss(finetuned)
    console.print(f"{preparation.held_out_name}: {first:.3f} → {last:.3f} nats a token")
    if finetuned.ended_early is not None:
        console.print(f"It fell no more: the weights of step {finetuned.ended_early:,} were kept.")
    console.print()
    if finetuned.before:
        console.print(answers_table(finetuned.before, finetuned.after))
        for line in diversity_lines(finetuned.diversity_before, finetuned.diversity_after):
            console.print(line)
        console.print()
    memory = prediction.memory.total
    console.print(
        f"Memory: {finetuned.peak / GIB:.2f} GiB at the peak, predicted {memory / GIB:.2f} ({_off(memory, finetuned.peak)})"
    )
    if prediction.seconds is not None and prediction.steps == len(finetuned.losses):
        console.print(
            f"Time: {duration(finetuned.seconds)}, predicted {duration(prediction.seconds)} "
            f"({_off(prediction.seconds, finetuned.seconds)})"
        )
    if not kept:
        console.print("\nNothing of it is kept: --out FOLDER keeps the run folder.")
        return
    folder = finetuned.folder
    merged = preparation.settings.merge or preparation.settings.full
    use = f"--model {folder}" if merged else f"--model {preparation.settings.model_name} --adapter {folder}"
    console.print(f"\n{folder} holds it; {folder / output.CARD_FILE} says how it is used:", soft_wrap=True)
    console.print(f'  python -m wmkml generate {use} "…"', soft_wrap=True)


def _final_loss(finetuned: Finetuned) -> float:
    if finetuned.ended_early is None:
        return finetuned.held_out[-1].loss
    return min(evaluation.loss for evaluation in finetuned.held_out)


def _off(predicted: float, measured: float) -> str:
    if measured <= 0:
        return "not measured"
    share = predicted / measured - 1
    return f"{abs(share):.0%} too {'high' if share > 0 else 'low'}"
