"""Makes the answers whose diversity is measured: every prompt at every temperature, many times, by every model.

Prompts and temperatures are asked in fixed groups, and a group's lines are written together; so what was interrupted goes
on at the group that is missing, and with the transformers engine on a CPU ends with the same answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.adapters.files import CONFIG_FILE
from wmkml.engine.build import build_engine
from wmkml.engine.protocol import Adapter, Engine
from wmkml.engine.setup import EngineSetup, ModelUnusableError
from wmkml.laboratory.analysis.asking import Asker, Group, MakingOptions, encode_prompt
from wmkml.laboratory.analysis.loading import load_any_tokenizer, quiet_transformers
from wmkml.laboratory.analysis.prompts import AskedPrompt
from wmkml.laboratory.analysis.sources import ModelSource, SourceError
from wmkml.system.cores import usable_cores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


OnGroup = Callable[[str, int, int, float], None]
"""Called with a label, the answers that are made of it, how many there will be, and the seconds since its first was begun."""

OnPrediction = Callable[[float], None]
"""Called once, before the first answer: with the seconds that all take at most, on a machine that stays as busy."""


@dataclass(frozen=True)
class AnswerFile:
    """Where a model's answers are written, a line for each prompt and temperature; beside it, what they are."""

    source: ModelSource
    path: Path

    @property
    def description_path(self) -> Path:
        """What the answers are, as JSON."""
        return self.path.with_suffix(".json")


class AnswersMismatchError(ValueError):
    """Answers on the disk cannot be continued.  The message says which, and what to do."""


def make_answers(
    files: Sequence[AnswerFile],
    prompts: Sequence[AskedPrompt],
    options: MakingOptions,
    on_group: OnGroup = lambda label, done, total, seconds: None,
    on_prediction: OnPrediction | None = None,
) -> None:
    """Make what is missing in every file; where it is asked for, predict first how long that takes.

    Raises:
        SourceError: a model or an adapter cannot be used, or a prompt does not fit it.
        AnswersMismatchError: a file holds other answers.
        EngineDiedError: the engine died; what was written stays.
    """
    asyncio.run(_make(files, prompts, options, on_group, on_prediction))


async def _make(
    files: Sequence[AnswerFile],
    prompts: Sequence[AskedPrompt],
    options: MakingOptions,
    on_group: OnGroup,
    on_prediction: OnPrediction | None,
) -> None:
    groups_left = {file: _group_count(prompts, options) - _groups_done(file, prompts, options) for file in files}
    missing = [file for file in files if groups_left[file] > 0]
    for _, group in groupby(missing, key=lambda file: _shape(file, missing)):
        together = list(group)
        folder = together[0].source.folder
        with quiet_transformers():
            tokenizer = load_any_tokenizer(folder)
        encoded = {prompt: encode_prompt(tokenizer, prompt, options) for prompt in prompts}
        async with _started(together, encoded, options) as engine:
            for number, file in enumerate(together, 1):
                adapter = None
                if file.source.adapter is not None:
                    adapter = Adapter(f"analysis-{number}", number, file.source.adapter)
                    try:
                        await engine.load(adapter)
                    except AdapterRefusedError as error:
                        raise SourceError(f"{file.source.adapter}: {error}") from None
                asker = Asker(engine, tokenizer, adapter, options)
                if on_prediction is not None:
                    next_group = list(_groups(prompts, options))[-groups_left[file]]
                    on_prediction(await asker.longest_seconds(encoded, next_group) * sum(groups_left.values()))
                    on_prediction = None
                await _fill(file, prompts, encoded, options, asker, on_group)
                if adapter is not None:
                    await engine.unload(adapter)


def _group_count(prompts: Sequence[AskedPrompt], options: MakingOptions) -> int:
    return -(-len(prompts) * len(options.temperatures) // options.sets_per_group)


def _groups_done(file: AnswerFile, prompts: Sequence[AskedPrompt], options: MakingOptions) -> int:
    """How many groups the file holds; lines of a group that is not whole are cut off.

    Raises:
        AnswersMismatchError: they are other answers.
    """
    description = options.description(prompts, file.source)
    if not file.path.is_file():
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.description_path.write_text(json.dumps(description, ensure_ascii=False, indent=1), encoding="utf-8")
        return 0
    try:
        before = json.loads(file.description_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before != description:
        raise AnswersMismatchError(
            f"{file.path} holds answers of another model, or to other prompts or temperatures. Give another --out."
        )
    size, groups, kept = 0, 0, 0
    sets = len(prompts) * len(options.temperatures)
    with file.path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                break
            size += len(line)
            if number % options.sets_per_group == 0 or number == sets:
                groups, kept = groups + 1, size
    os.truncate(file.path, kept)
    return groups


def _shape(file: AnswerFile, files: Sequence[AnswerFile]) -> tuple[Path, int, tuple[str, ...]]:
    """What files have in common that one engine can answer: the base, and the rank and the layers of its adapters."""
    source = file.source
    if source.adapter is None:
        # The base model alone answers in any engine of its adapters.
        others = [other for other in files if other.source.folder == source.folder and other.source.adapter is not None]
        if not others:
            return source.folder, 1, ()
        source = others[0].source
        return _shape(AnswerFile(source, file.path), files)
    try:
        config = json.loads((source.adapter / CONFIG_FILE).read_text(encoding="utf-8"))
        targets = config["target_modules"]
        return source.folder, int(config["r"]), tuple(sorted(targets)) if isinstance(targets, list) else ()
    except (OSError, ValueError, KeyError, TypeError):
        raise SourceError(f"{source.adapter / CONFIG_FILE} describes no LoRA.") from None


@asynccontextmanager
async def _started(
    files: Sequence[AnswerFile], encoded: dict[AskedPrompt, tuple[int, ...]], options: MakingOptions
) -> AsyncIterator[Engine]:
    folder, rank, targets = _shape(files[0], files)
    adapters = sum(file.source.adapter is not None for file in files)
    setup = EngineSetup(
        model=folder,
        adapters=max(1, adapters),
        rank=rank,
        target_modules=targets,
        dtype="float32" if options.dtype == "auto" and _computes_on_cpu(options) else options.dtype,
        sequences=options.batch,
        batched_tokens=2048,
        threads=int(os.environ.get("OMP_NUM_THREADS") or usable_cores()) if _computes_on_cpu(options) else 0,
        device=options.device if options.engine == "transformers" else "",
    )
    try:
        longest = max(encoded, key=lambda prompt: len(encoded[prompt]))
        if len(encoded[longest]) + options.max_tokens > setup.chosen_window:
            raise SourceError(
                f"{folder}: its window of {setup.chosen_window} tokens does not hold {longest.prompt[:60]!r} "
                f"({len(encoded[longest])} tokens) and an answer of {options.max_tokens}. Lower --max-tokens."
            )
        with quiet_transformers():
            engine = build_engine(options.engine, setup)
            await engine.start()
    except ModelUnusableError as error:
        raise SourceError(str(error)) from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{folder}: the model cannot be loaded: {str(error).splitlines()[0]}") from None
    try:
        yield engine
    finally:
        await engine.stop()


def _computes_on_cpu(options: MakingOptions) -> bool:
    import torch

    if options.device:
        return options.device == "cpu"
    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


async def _fill(
    file: AnswerFile,
    prompts: Sequence[AskedPrompt],
    encoded: dict[AskedPrompt, tuple[int, ...]],
    options: MakingOptions,
    asker: Asker,
    on_group: OnGroup,
) -> None:
    """Make the groups that the file lacks, and append each as a whole."""
    done, began = _groups_done(file, prompts, options), time.monotonic()
    total = len(prompts) * len(options.temperatures) * options.completions
    made = done * options.sets_per_group * options.completions
    with file.path.open("ab") as stream:
        for group in list(_groups(prompts, options))[done:]:
            texts = await asker.answers(encoded, group, options.max_tokens)
            lines = [
                _line(prompt, temperature, texts[index * options.completions : (index + 1) * options.completions])
                for index, (prompt, temperature) in enumerate(group)
            ]
            stream.write("".join(lines).encode())
            stream.flush()
            os.fsync(stream.fileno())
            made += len(texts)
            on_group(file.source.label, made, total, time.monotonic() - began)


def _groups(prompts: Sequence[AskedPrompt], options: MakingOptions) -> Iterator[Group]:
    """Prompts and temperatures that are asked together; a prompt's temperatures stand beside each other, since the engine
    reads a prompt once for all rows that have it."""
    pairs = [(prompt, temperature) for prompt in prompts for temperature in options.temperatures]
    for first in range(0, len(pairs), options.sets_per_group):
        yield pairs[first : first + options.sets_per_group]


def _line(prompt: AskedPrompt, temperature: float, answers: Sequence[str]) -> str:
    record = {
        "prompt": prompt.prompt,
        "kind": prompt.kind,
        "temperature": temperature,
        **({"language": prompt.language} if prompt.language else {}),
        **({"opening": prompt.opening} if prompt.opening else {}),
        **({"expected": list(prompt.expected)} if prompt.expected else {}),
        "answers": list(answers),
    }
    return json.dumps(record, ensure_ascii=False) + "\n"
