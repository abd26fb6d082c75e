"""Makes the answers whose diversity is measured: every prompt at every temperature, many times, by every model.

Prompts and temperatures are asked in fixed groups, and a group's lines are written together; so what was interrupted goes
on at the group that is missing, and with the transformers engine on a CPU ends with the same answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.adapters.files import CONFIG_FILE
from wmkml.dialogue.chat_template import MessagesRefusedError, prompt_ids
from wmkml.engine.build import build_engine
from wmkml.engine.protocol import Adapter, Engine, Generation, Sampling
from wmkml.engine.setup import EngineSetup, ModelUnusableError
from wmkml.engine.text import Detokenizer
from wmkml.laboratory.analysis.loading import load_any_tokenizer, quiet_transformers
from wmkml.laboratory.analysis.prompts import AskedPrompt
from wmkml.laboratory.analysis.sources import ModelSource, SourceError
from wmkml.system.cores import usable_cores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from transformers import PreTrainedTokenizerBase

TEMPERATURES = tuple(round(0.1 * step, 1) for step in range(1, 16))
QUICK_TEMPERATURES = (0.7, 1.0)
COMPLETIONS = 25
QUICK_COMPLETIONS = 10

PromptFormat = Literal["auto", "chat", "plain"]

OnGroup = Callable[[str, int, int, float], None]
"""Called with a label, the answers that are made of it, how many there will be, and the seconds since its first was begun."""


@dataclass(frozen=True)
class MakingOptions:
    """How answers are made; all but `engine` and `device` are part of what they are, `batch` by how many are asked together.

    Attributes:
        temperatures: each prompt is asked at each of them.
        completions: answers to a prompt at a temperature.
        max_tokens: of an answer at most.
        top_p: 1: nothing is cut from the distribution.
        prompt_format: `chat`: the model's template; `plain`: prompt, line break, opening; `auto`: `chat` where there is one.
        system: the system prompt; empty: none.
        batch: answers that are made at once.
        engine: vllm or transformers.
        device: for transformers; empty: the best that there is.
        dtype: of the weights; auto: float32 on a CPU, else bfloat16.
    """

    temperatures: tuple[float, ...] = TEMPERATURES
    completions: int = COMPLETIONS
    max_tokens: int = 100
    top_p: float = 1.0
    seed: int = 0
    prompt_format: PromptFormat = "auto"
    system: str = ""
    batch: int = 128
    engine: Literal["vllm", "transformers"] = "transformers"
    device: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    @property
    def sets_per_group(self) -> int:
        """How many prompts and temperatures are asked together."""
        return max(1, self.batch // self.completions)

    def description(self, prompts: Sequence[AskedPrompt], source: ModelSource) -> dict[str, Any]:
        """What these answers are, for JSON; answers of another description are not continued."""
        return {
            "source": source.identity(),
            # With what is expected and the language, which stand beside every answer and are measured with it.
            "prompts": [
                [prompt.kind, prompt.prompt, prompt.opening, list(prompt.expected), prompt.language]
                for prompt in prompts
            ],
            "temperatures": list(self.temperatures),
            "completions": self.completions,
            "max_tokens": self.max_tokens,
            "top_p": self.top_p,
            "seed": self.seed,
            "prompt_format": self.prompt_format,
            "system": self.system,
            "sets_per_group": self.sets_per_group,
            "dtype": self.dtype,
        }


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
) -> None:
    """Make what is missing in every file.

    Raises:
        SourceError: a model or an adapter cannot be used, or a prompt does not fit it.
        AnswersMismatchError: a file holds other answers.
        EngineDiedError: the engine died; what was written stays.
    """
    asyncio.run(_make(files, prompts, options, on_group))


async def _make(
    files: Sequence[AnswerFile], prompts: Sequence[AskedPrompt], options: MakingOptions, on_group: OnGroup
) -> None:
    missing = [file for file in files if _groups_done(file, prompts, options) < _group_count(prompts, options)]
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
                await _fill(file, prompts, encoded, options, _Asker(engine, tokenizer, adapter, options), on_group)
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


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: AskedPrompt, options: MakingOptions) -> tuple[int, ...]:
    """The tokens after which a model's answer goes on: prompt in its format, and the opening of the answer.

    Raises:
        SourceError: the format is `chat`, and the model has no template, or its template refuses this.
    """
    chat = options.prompt_format == "chat" or (options.prompt_format == "auto" and tokenizer.chat_template)
    if not chat:
        text = "\n".join(part for part in (options.system, prompt.prompt, prompt.opening) if part)
        return tuple(tokenizer(text if prompt.opening else f"{text}\n")["input_ids"])
    if not tokenizer.chat_template:
        raise SourceError("--format chat: the model has no chat template. Use auto or plain.")
    messages = [{"role": "system", "content": options.system}] if options.system else []
    try:
        ids = prompt_ids(tokenizer, [*messages, {"role": "user", "content": prompt.prompt}])
    except MessagesRefusedError as error:
        raise SourceError(f"--format chat: {error} Use --format plain.") from None
    return (*ids, *tokenizer(prompt.opening, add_special_tokens=False)["input_ids"]) if prompt.opening else tuple(ids)


@dataclass(frozen=True)
class _Asker:
    """What is needed to ask one model."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    adapter: Adapter | None
    options: MakingOptions

    async def answer(self, ids: tuple[int, ...], prompt: AskedPrompt, temperature: float, number: int) -> str:
        """One answer; the same for the same numbers, where the engine takes seeds."""
        options = self.options
        seed = random.Random(f"{options.seed}:{prompt.kind}:{prompt.prompt}:{temperature}:{number}").getrandbits(31)
        sampling = Sampling(temperature=temperature, top_p=options.top_p, max_tokens=options.max_tokens, seed=seed)
        name = f"{self.adapter.name if self.adapter else 'base'}:{prompt.kind}:{prompt.prompt}:{temperature}:{number}"
        generation = Generation(name, ids, sampling, self.adapter, with_logprobs=False)
        detokenizer, text = Detokenizer(self.tokenizer), ""
        async for step in self.engine.generate(generation):
            if step.finish != "stop":  # the end token is no part of the text
                text += detokenizer.push(step.token)
        return text + detokenizer.finish()


async def _fill(
    file: AnswerFile,
    prompts: Sequence[AskedPrompt],
    encoded: dict[AskedPrompt, tuple[int, ...]],
    options: MakingOptions,
    asker: _Asker,
    on_group: OnGroup,
) -> None:
    """Make the groups that the file lacks, and append each as a whole."""
    done, began = _groups_done(file, prompts, options), time.monotonic()
    total = len(prompts) * len(options.temperatures) * options.completions
    made = done * options.sets_per_group * options.completions
    with file.path.open("ab") as stream:
        for group in list(_groups(prompts, options))[done:]:
            requests = [
                asker.answer(encoded[prompt], prompt, temperature, number)
                for prompt, temperature in group
                for number in range(options.completions)
            ]
            # Gathered together they start in one turn of the event loop: batched in the same way every time.
            texts = await asyncio.gather(*requests)
            lines = [
                _line(prompt, temperature, texts[index * options.completions : (index + 1) * options.completions])
                for index, (prompt, temperature) in enumerate(group)
            ]
            stream.write("".join(lines).encode())
            stream.flush()
            os.fsync(stream.fileno())
            made += len(texts)
            on_group(file.source.label, made, total, time.monotonic() - began)


def _groups(prompts: Sequence[AskedPrompt], options: MakingOptions) -> Iterator[list[tuple[AskedPrompt, float]]]:
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
