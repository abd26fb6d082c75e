"""The prompts that models are asked: our own lists, lists of others, and prompts that a model has seen in training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wmkml.corpora import CorpusError, read
from wmkml.laboratory.analysis.answers import is_encodable

OWN_LISTS = Path(__file__).with_name("prompts.yaml")
SEEN = "seen"
MOST_SEEN = 20
"""How many prompts are drawn of what a model has seen, as many as our own lists have of each kind."""

EXAMPLE = 'creative:\n- {prompt: "…", opening: "…"}\nfactual:\n- {prompt: "…", expected: ["…"]}'


class PromptsError(ValueError):
    """A list of prompts cannot be used.  The message says which, where, and what was expected."""


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt.

    Attributes:
        kind: creative, factual, seen, or another word.
        opening: how the answer is begun for the model; empty: not at all.
        expected: texts of which a right answer holds one; empty where there is nothing right.
        language: as "en"; empty where it is not known.
    """

    prompt: str
    kind: str
    opening: str = ""
    expected: tuple[str, ...] = ()
    language: str = ""


def own_prompts(language: str) -> list[AskedPrompt]:
    """Our creative and factual prompts in this language.

    Raises:
        PromptsError: there are none.
    """
    lists = yaml.safe_load(OWN_LISTS.read_text(encoding="utf-8"))
    if language not in lists:
        raise PromptsError(
            f"--language {language}: there are lists in {', '.join(lists)}; give your own with --prompts FILE."
        )
    return _of_lists(lists[language], str(OWN_LISTS), language)


def read_prompts(path: Path, language: str) -> list[AskedPrompt]:
    """The prompts of a YAML file in the form of EXAMPLE.

    Raises:
        PromptsError: it cannot be read, or is not in that form.
    """
    try:
        lists = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PromptsError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PromptsError(f"{path} is no YAML ({str(error).splitlines()[0]}). It is to be\n{EXAMPLE}") from None
    if not isinstance(lists, dict) or not lists:
        raise PromptsError(f"{path} holds no lists of prompts. It is to be\n{EXAMPLE}")
    return _of_lists(lists, str(path), language)


def seen_prompts(source: str, language: str, seed: int = 0, most: int = MOST_SEEN) -> list[AskedPrompt]:
    """Prompts of what a model was trained on: a run's folder, a file of pairs, or anything else that `read` reads.

    Args:
        seed: of the choice where there are more than `most`.

    Raises:
        PromptsError: it cannot be read, or holds no prompt.
    """
    try:
        prompts = list(dict.fromkeys(pair.prompt for pair in read(source).pairs() if pair.prompt))
    except CorpusError as error:
        raise PromptsError(f"--seen: {error}") from None
    if not prompts:
        raise PromptsError(f"--seen: {source} holds no prompts.")
    if len(prompts) > most:
        prompts = random.Random(seed).sample(prompts, most)
    return [AskedPrompt(prompt, SEEN, language=language) for prompt in prompts]


def _of_lists(lists: dict[str, Any], where: str, language: str) -> list[AskedPrompt]:
    prompts: dict[tuple[str, str], AskedPrompt] = {}
    for kind, entries in lists.items():
        if not isinstance(entries, list):
            raise PromptsError(f"{where}: `{kind}` is no list. It is to be\n{EXAMPLE}")
        for number, entry in enumerate(entries, 1):
            prompt = _of_entry(entry, str(kind), f"{where}, {kind}, prompt {number}", language)
            if (prompt.kind, prompt.prompt) in prompts:
                raise PromptsError(f"{where}, {kind}, prompt {number}: is there twice.")
            prompts[prompt.kind, prompt.prompt] = prompt
    return list(prompts.values())


def _of_entry(entry: object, kind: str, where: str, language: str) -> AskedPrompt:
    fields = {"prompt": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or not isinstance(fields.get("prompt"), str) or not fields["prompt"].strip():
        raise PromptsError(f"{where}: has no `prompt`. It is to be\n{EXAMPLE}")
    if unknown := sorted(map(str, fields.keys() - {"prompt", "opening", "expected"})):
        raise PromptsError(f"{where}: {unknown[0]} is not known. It is to be\n{EXAMPLE}")
    opening, expected = fields.get("opening", ""), fields.get("expected", [])
    if not isinstance(opening, str) or not _is_texts(expected):
        raise PromptsError(f"{where}: `opening` is to be a text, `expected` a list of texts in quotes.")
    if not all(map(is_encodable, (kind, fields["prompt"], opening, *expected))):
        raise PromptsError(f"{where}: holds half of a surrogate pair (\\ud800 to \\udfff), which is no character.")
    return AskedPrompt(fields["prompt"], kind, opening, tuple(expected), language)


def _is_texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(text, str) for text in value)
