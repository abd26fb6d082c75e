"""The prompts of a command: its arguments, a file, or standard input; each a conversation that ends with what is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from wmkml.corpora import CorpusError, read
from wmkml.corpora.encodings import TextFile, detect_encoding
from wmkml.generation.sources import SpeakerError

if TYPE_CHECKING:
    from wmkml.dialogue.chat_template import Message

LINES = (".txt", "")
"""Endings of files that hold a prompt a line; others are read as `wmkml corpus` reads them."""


def conversations_of(
    arguments: Sequence[str], file: Path | None, system: str, standard_input: TextIO | None = None
) -> list[list[Message]]:
    """What is asked, in order: the arguments, else the file, else standard input; empty if nothing of it is there.

    Args:
        arguments: prompts; `-` is standard input.
        system: a system prompt for each; it takes the place of a conversation's own.

    Raises:
        SpeakerError: the file cannot be read, or holds no prompt.
    """
    stream = standard_input or sys.stdin
    if file is not None and arguments:
        raise SpeakerError("Give prompts or --file, not both.")
    if file is not None:
        conversations = _of_file(file)
    elif list(arguments) == ["-"] or (not arguments and not stream.isatty()):
        conversations = [_asked(line.strip()) for line in stream if line.strip()]
        if not conversations and list(arguments) == ["-"]:
            raise SpeakerError("Standard input is empty: there is nothing to ask.")
    else:
        if any(not prompt.strip() for prompt in arguments):
            raise SpeakerError("A prompt is empty: there is nothing to ask.")
        conversations = [_asked(prompt) for prompt in arguments]
    return [_with_system(conversation, system) for conversation in conversations]


def _asked(prompt: str) -> list[Message]:
    return [{"role": "user", "content": prompt}]


def _with_system(conversation: list[Message], system: str) -> list[Message]:
    if not system:
        return conversation
    turns = conversation[1:] if conversation[0]["role"] == "system" else conversation
    return [{"role": "system", "content": system}, *turns]


def _of_file(path: Path) -> list[list[Message]]:
    try:
        if path.suffix.lower() in LINES and path.is_file():
            text = TextFile(path, detect_encoding(path))
            prompts = [line.strip() for _, line in text.lines() if line and line.strip()]
            conversations = [_asked(prompt) for prompt in prompts]
        else:
            conversations = []
            for pair in read(str(path)).pairs():
                # What is to be said is the model's now: the answer that stands there is left out.
                turns = pair.messages if pair.answer is None else pair.messages[:-1]
                if pair.prompt:
                    conversations.append(list(turns))
    except (CorpusError, OSError) as error:
        raise SpeakerError(str(error) if isinstance(error, CorpusError) else f"{path}: {error.strerror}.") from None
    if not conversations:
        raise SpeakerError(f"{path} holds no prompt: it is empty, or has passages alone.")
    return conversations
