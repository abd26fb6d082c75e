"""What a finetune leaves: a run folder with its adapter (or a whole model), template, model card, losses and plot.

The adapter's two files lie in the folder itself, so that PEFT, vLLM and `wmkml` load it by the folder's path.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wmkml
from wmkml.adapters.files import CONFIG_FILE, WEIGHTS_FILE, sha256_of
from wmkml.config import Settings
from wmkml.corpora import Pair
from wmkml.dialogue.templates import JINJA_FILE, NONE, DialogueTemplate
from wmkml.finetuning.checkpoint import HeldOut
from wmkml.finetuning.comparison import AnsweredPrompt
from wmkml.finetuning.settings import FinetuneRefusedError, FinetuneSettings
from wmkml.runs import folder as runs
from wmkml.runs.schema import AcceptedAdapter, NewPair
from wmkml.runs.store import RunStore

LOSSES_FILE, HELD_OUT_FILE, ANSWERS_FILE, MEASURES_FILE = (
    "losses.jsonl",
    "held_out.jsonl",
    "answers.jsonl",
    "measures.jsonl",
)
PLOT_FILE, CARD_FILE, RUN_FILE = "losses.png", "README.md", "run.json"

BEFORE, AFTER = -1, 0
"""Iterations: the base model, and the finetuned one."""

SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank`."""

INK, MEAN, GRID = "#1f2328", "#b3261e", "#e4e4e1"


def make_folder(settings: FinetuneSettings, details: Mapping[str, Any]) -> None:
    """Create the run folder.

    Raises:
        FinetuneRefusedError: there is something at that path, or it cannot be created.
    """
    out = settings.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FinetuneRefusedError(f"--out: {out} exists already. Name a new folder, or --resume what was begun there.")
    try:
        if out.exists():
            out.rmdir()
        folder, store = runs.create_run(out.parent, out.name, "", Settings(), "finetune", details)
    except OSError as error:
        raise FinetuneRefusedError(f"--out: {out} cannot be created: {error.strerror}.") from None
    store.close()
    (folder / "adapters").rmdir()


def append_loss(folder: Path, step: int, steps: int, loss: float, rate: float, tokens: int) -> None:
    """Write one step into losses.jsonl, as runs of the installation have it, and with its learning rate."""
    line = {"iteration": AFTER, "attempt": 1, "step": step, "steps": steps, "loss": loss, "tokens": tokens}
    runs.append_line(folder, LOSSES_FILE, {**line, "learning_rate": rate})


def append_held_out(folder: Path, evaluation: HeldOut) -> None:
    """Write one held-out loss."""
    runs.append_line(folder, HELD_OUT_FILE, {"step": evaluation.step, "loss": evaluation.loss})


def cut_lines(folder: Path, steps: int) -> None:
    """Leave only the lines of the first `steps` steps, since what came after the checkpoint is trained again."""
    for name in (LOSSES_FILE, HELD_OUT_FILE):
        path = folder / name
        if path.is_file():
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= steps]
            path.write_text("".join(kept), encoding="utf-8")


def write_answers(
    folder: Path, iteration: int, answered: Sequence[AnsweredPrompt], measures: Mapping[str, float]
) -> None:
    """Write the answers of the base model, or of the finetuned one, and their measures, as the laboratory does."""
    store = RunStore(folder / "run.sqlite")
    try:
        store.add_pairs(
            NewPair(
                source="dataset",
                dataset="held out",
                language="",
                prompt=prompt.prompt,
                answer=answer,
                kept=len(answer),
                iteration=iteration,
                live=False,
            )
            for prompt in answered
            for answer in prompt.answers
        )
        if iteration == AFTER and (folder / WEIGHTS_FILE).is_file():
            sha256 = sha256_of(folder / WEIGHTS_FILE)
            store.accept(AcceptedAdapter(AFTER, str(folder), sha256, from_round=False))
            store.set_phase("waiting", 0.0)
    finally:
        store.close()
    for prompt in answered:
        for answer in prompt.answers:
            entry = {"iteration": iteration, "prompt": prompt.prompt, "answer": answer}
            runs.append_line(folder, ANSWERS_FILE, entry)
    if measures:
        runs.append_line(folder, MEASURES_FILE, {"iteration": iteration, "round": iteration + 1, **measures})


def read_answers(folder: Path, iteration: int, pairs: Sequence[Pair]) -> list[AnsweredPrompt]:
    """The answers that `write_answers` wrote of this iteration to these pairs' prompts; empty where it wrote none."""
    path = folder / ANSWERS_FILE
    if not path.is_file() or not pairs:
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [str(line["answer"]) for line in lines if line["iteration"] == iteration]
    each = len(texts) // len(pairs)
    if not each:
        return []
    return [
        AnsweredPrompt(pair.prompt, pair.answer or "", tuple(texts[each * number : each * (number + 1)]))
        for number, pair in enumerate(pairs)
    ]


def update_details(folder: Path, details: Mapping[str, Any]) -> None:
    """Add to what run.json says of the finetune."""
    path = folder / RUN_FILE
    about = json.loads(path.read_text(encoding="utf-8"))
    about["finetune"] = {**about.get("finetune", {}), **details}
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
    unfinished.replace(path)


def plot_losses(path: Path, losses: Sequence[float], held_out: Sequence[HeldOut], title: str, label: str) -> None:
    """Write the losses by step as a PNG; `label` names the held-out line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, color=INK, linewidth=0.9, label="loss of each step")
    if held_out:
        steps = [evaluation.step for evaluation in held_out]
        axes.plot(
            steps, [evaluation.loss for evaluation in held_out], color=MEAN, marker="o", markersize=3, label=label
        )
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel("optimizer step", fontsize=9)
    axes.set_ylabel("nats a token", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    axes.grid(color=GRID, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)


def write_card(
    folder: Path, settings: FinetuneSettings, template: DialogueTemplate, details: Mapping[str, Any]
) -> None:
    """Write the model card: what it was made of, how well it reads held-out words, and how it is loaded."""
    adapter = (folder / CONFIG_FILE).is_file()
    base = settings.model_name
    front = ["---"]
    if settings.base_name == base and not base.startswith("/"):
        front.append(f"base_model: {base}")
    front += [f"library_name: {'peft' if adapter else 'transformers'}", "pipeline_tag: text-generation", "---", ""]
    kind = "A LoRA adapter" if adapter else "A language model, finetuned"
    lines = [
        *front,
        f"# {folder.name}",
        "",
        f"{kind}: `{base}`, taught with {details['samples']:,} samples of {', '.join(settings.data)} by "
        f"`wmkml finetune` {wmkml.__version__} on {time.strftime('%Y-%m-%d')}.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in _card_rows(settings, template, details)),
        "",
        "## Use",
        "",
        "```bash",
        *_uses(folder, settings, adapter),
        "```",
        "",
    ]
    (folder / CARD_FILE).write_text("\n".join(lines), encoding="utf-8")


def _card_rows(
    settings: FinetuneSettings, template: DialogueTemplate, details: Mapping[str, Any]
) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("template", f"{template.name}{', the words go on' * (template.name == NONE)} (`{JINJA_FILE}`)"),
        ("loss on", "the answer" if settings.loss_on == "answer" else "the whole text"),
        ("steps", f"{details['steps_done']:,}, of {settings.samples_per_step} samples"),
        ("epochs", details["epochs"]),
        ("learning rate", f"{details['learning_rate']:g}, falling to 0"),
        ("seed", settings.seed),
        ("precision of the base", details["precision"]),
    ]
    if details["targets"]:
        shape = f"rank {settings.lora.rank}, alpha {settings.lora.alpha}, dropout {settings.lora.dropout:g}"
        rows.append(("LoRA", f"{shape}, in {', '.join(details['targets'])}"))
    else:
        rows.append(("trained", "all weights"))
    rows.append(
        (
            str(details["held_out_name"]),
            f"{details['held_out_before']:.3f} → {details['held_out_after']:.3f} nats a token",
        )
    )
    return rows


def _uses(folder: Path, settings: FinetuneSettings, adapter: bool) -> list[str]:
    if not adapter:
        return [
            f'python -m wmkml generate --model {folder} "…"',
            f"./master_script.sh --model {folder}",
            f"vllm serve {folder}",
        ]
    rank = next((size for size in SERVED_RANKS if size >= settings.lora.rank), settings.lora.rank)
    return [
        f'python -m wmkml generate --model {settings.model_name} --adapter {folder} "…"',
        f"./master_script.sh --model {settings.model_name} --adapter {folder}   # it is iteration −1",
        f"python -m wmkml merge {folder} --out MERGED   # a whole model, for any program",
        f"vllm serve {settings.base_name} --enable-lora --max-lora-rank {rank} --lora-modules voice={folder} \\",
        f"  --chat-template {folder / JINJA_FILE}",
    ]
