"""Conversations: OpenAI's `messages` and ShareGPT's `conversations`, in either spelling, as one pair for each answer.

Successive messages of one role are joined by an empty line.  What came before a pair is its context.  An answer with
`"weight": 0` is context only, as in OpenAI's form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wmkml.corpora.columns import value_text
from wmkml.corpora.pairs import Entry, Pair, Part, RecordRefusedError, RefusedLine, Role, Turn, clean

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
"""Names of roles, in any case."""

MOST_MESSAGES = 2000
"""Messages of a conversation at most, since every one is in the context of all answers after it."""

ROLE_KEYS, TEXT_KEYS = ("role", "from"), ("content", "value", "text")


@dataclass(frozen=True)
class _Message:
    number: int
    role: Role
    text: str
    trained: bool


def pairs_of_conversation(messages: object, line: int, part: Part, system: str = "") -> list[Entry]:
    """One pair for each answer; a refusal for an answer at the beginning, to which there is no prompt.

    Args:
        messages: a list of objects with `role` or `from`, and `content` or `value`.
        system: a system prompt that stands beside the list.

    Raises:
        RecordRefusedError: it is no such list, a role is unknown, or it holds no prompt that is answered.
    """
    if not isinstance(messages, list | tuple):
        raise RecordRefusedError("expected a list of messages")
    if len(messages) > MOST_MESSAGES:
        raise RecordRefusedError(f"a conversation of {len(messages):,} messages; at most {MOST_MESSAGES:,} are read")
    read = [
        _message(message, number)
        for number, message in enumerate(messages, start=1)
        if not (number == 1 and _is_empty_system(message))
    ]
    turns = [Turn("system", clean(system, "the system prompt"))] if system.strip() else []
    entries: list[Entry] = []
    answered = False
    for message in _joined(read):
        if message.role == "system" and any(turn.role != "system" for turn in turns):
            raise RecordRefusedError(f"message {message.number} is a system prompt; one may only be the first message")
        if message.role == "assistant":
            if not turns or turns[-1].role != "user":
                reason = f"message {message.number} is an answer without a prompt before it; it is left out, the rest is read"
                entries.append(RefusedLine(line, reason))
                continue
            answered = True
            if message.trained:
                entries.append(Pair(turns[-1].text, message.text, tuple(turns[:-1]), part, line=line))
        turns.append(Turn(message.role, message.text))
    if not answered:
        raise RecordRefusedError("holds no answer; expected a message of the role assistant (or from gpt)")
    if not any(isinstance(entry, Pair) for entry in entries):
        raise RecordRefusedError('every answer has "weight": 0, so nothing of it is taught')
    return entries


def _is_empty_system(message: object) -> bool:
    """Whether it is a system prompt without a word, as many files begin every conversation with."""
    if not isinstance(message, Mapping):
        return False
    role = next((message[key] for key in ROLE_KEYS if key in message), None)
    texts = [message[key] for key in TEXT_KEYS if key in message]
    empty = bool(texts) and (texts[0] is None or (isinstance(texts[0], str) and not texts[0].strip()))
    return empty and isinstance(role, str) and ROLES.get(role.strip().casefold()) == "system"


def _message(message: object, number: int) -> _Message:
    name = f"message {number}"
    if not isinstance(message, Mapping):
        raise RecordRefusedError(f"{name}: expected an object with role and content (or from and value)")
    role_name = next((message[key] for key in ROLE_KEYS if key in message), None)
    if not isinstance(role_name, str):
        raise RecordRefusedError(f"{name} has no role; expected role or from: system, user or assistant")
    role = ROLES.get(role_name.strip().casefold())
    if role is None:
        known = role_name if len(role_name) < 20 and role_name.isidentifier() else "another"
        raise RecordRefusedError(f"{name} has the role {known}; expected system, user (human) or assistant (gpt)")
    key = next((key for key in TEXT_KEYS if key in message), None)
    if key is None:
        raise RecordRefusedError(f"{name} has no text; expected content or value")
    if message.get("tool_calls") or message.get("function_call"):
        raise RecordRefusedError(f"{name} calls a tool; only words are read")
    text = clean(_content(message[key], name), f"the text of {name}")
    return _Message(number, role, text, trained=message.get("weight") not in (0, False))


def _content(content: object, name: str) -> str:
    """A message's text; OpenAI's list of parts as those parts together."""
    if not isinstance(content, list | tuple):
        return value_text(content, name)
    texts = []
    for piece in content:
        text = piece.get("text") if isinstance(piece, Mapping) else piece
        if not isinstance(text, str):
            raise RecordRefusedError(f"{name} holds a part that is no text, as a picture; only words are read")
        texts.append(text)
    return "\n".join(texts)


def _joined(messages: list[_Message]) -> list[_Message]:
    joined: list[_Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role:
            last = joined.pop()
            text = f"{last.text}\n\n{message.text}"
            message = _Message(last.number, last.role, text, last.trained and message.trained)
        joined.append(message)
    return joined
