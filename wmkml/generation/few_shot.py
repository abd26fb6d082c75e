"""Worked examples that stand before a prompt: the files that ship with the package, one of the same form, or any pairs.

A file of this form is YAML with `examples`, conversations of `user` and `assistant` in turns, and optionally `system`, `stop`
(texts that end an answer) and `prompts`, which are asked where nothing else is.  Any other file is read as `wmkml corpus`
reads it, and every pair of it is an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from wmkml.corpora import CorpusError, read
from wmkml.generation.sources import SpeakerError

if TYPE_CHECKING:
    from wmkml.dialogue.chat_template import Message

FOLDER = Path(__file__).with_name("few_shot")
"""Holds the files that ship with the package."""

MOST_PAIRS = 32
"""Pairs of a file of another form that are taken: more hardly fit any model's window."""

ROLES = ("user", "assistant")


@dataclass(frozen=True)
class FewShot:
    """Examples for a model.

    Attributes:
        name: of the file.
        messages: the system prompt, where there is one, and the examples in turns.
        prompts: to try them with.
        stop: texts that end an answer.
    """

    name: str
    messages: tuple[Message, ...]
    prompts: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()


def shipped_names() -> list[str]:
    """The names of the files that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_few_shot(name: str) -> FewShot:
    """Examples by the name of a shipped file, or by a path.

    Raises:
        SpeakerError: there is none of that name, or its form is another; the message says where.
    """
    path = FOLDER / f"{name}.yaml" if name in shipped_names() else Path(name)
    if not path.is_file():
        raise SpeakerError(f"There are no examples {name}. Give a file, or one of: {', '.join(shipped_names())}.")
    if path.suffix not in (".yaml", ".yml"):
        return _from_pairs(path)
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpeakerError(f"{path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise SpeakerError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict) or not isinstance(content.get("examples"), list) or not content["examples"]:
        raise SpeakerError(f"{path}: expected examples, a list of conversations of user and assistant.")
    messages: list[Message] = []
    if system := content.get("system"):
        messages.append({"role": "system", "content": _text(system, f"{path}: system")})
    for number, example in enumerate(content["examples"], 1):
        messages += _turns(example, f"{path}: example {number}")
    prompts, stop = (_texts(content.get(key), f"{path}: {key}") for key in ("prompts", "stop"))
    return FewShot(path.stem, tuple(messages), prompts, stop)


def with_examples(messages: list[Message], few_shot: FewShot | None) -> list[Message]:
    """A conversation behind the examples; its own system prompt takes the place of theirs."""
    if few_shot is None:
        return messages
    own = messages[:1] if messages and messages[0]["role"] == "system" else []
    examples = list(few_shot.messages)
    if own and examples[0]["role"] == "system":
        examples = examples[1:]
    return [*own, *examples, *messages[len(own) :]]


def _from_pairs(path: Path) -> FewShot:
    try:
        pairs = [pair for pair in read(path).train() if pair.prompt and pair.answer is not None][:MOST_PAIRS]
    except CorpusError as error:
        raise SpeakerError(str(error)) from None
    if not pairs:
        raise SpeakerError(f"{path} holds no pair of prompt and answer, so it is no example for a model.")
    messages: list[Message] = []
    for pair in pairs:
        turns = pair.messages
        messages += turns if not messages else [turn for turn in turns if turn["role"] != "system"]
    return FewShot(path.stem, tuple(messages))


def _turns(example: object, where: str) -> list[Message]:
    if not isinstance(example, list) or not example or len(example) % 2:
        raise SpeakerError(f"{where}: expected a list that begins with user, ends with assistant, and takes turns.")
    turns: list[Message] = []
    for index, turn in enumerate(example):
        role = ROLES[index % 2]
        if not isinstance(turn, dict) or list(turn) != [role]:
            raise SpeakerError(f"{where}, turn {index + 1}: expected {role}: and its words.")
        turns.append({"role": role, "content": _text(turn[role], f"{where}, turn {index + 1}")})
    return turns


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SpeakerError(f"{where}: expected words.")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise SpeakerError(f"{where}: expected a list of texts.")
    return tuple(_text(entry, where) if where.endswith("prompts") else str(entry) for entry in value)
