"""What a corpus consists of: pairs, and what was refused with its line and reason.

Standard library only, as everything that the owner needs to read a data set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from wmkml.corpora.markup import CHAT_MARKUP

Part = Literal["train", "evaluation"]

Role = Literal["system", "user", "assistant"]

MAX_TEXT = 1 << 20
"""The longest prompt, answer or message, in characters: a longer one is a mistake of the file rather than words."""

# Half of a surrogate pair: a byte that is not of the file's encoding (U+DC80 to U+DCFF), or a broken \u escape in JSON.
_UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class CorpusError(ValueError):
    """Nothing can be read from this source.  The message says where, what was expected, and what to do."""


class RecordRefusedError(ValueError):
    """One line, row or conversation cannot be used.  The message says what was expected; it quotes none of its words."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of what came before a prompt."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and its answer; the lines that they come from do not count when two are compared.

    Attributes:
        prompt: empty for a passage of plain text.
        answer: the text that is taught; None where the corpus holds prompts alone.
        context: what came before in the conversation, oldest first; a system prompt is its first turn.
        part: whether it is for training, or held out to evaluate with.
        category: what the corpus sorts it under (Dolly's `category`), or empty.
        line: the line, or row of a table without lines, on which it begins; counts from 1.
    """

    prompt: str
    answer: str | None
    context: tuple[Turn, ...] = ()
    part: Part = "train"
    category: str = ""
    line: int = field(default=0, compare=False)

    @property
    def is_passage(self) -> bool:
        """Whether it is plain text to continue: no prompt, only words."""
        return not self.prompt

    @property
    def messages(self) -> list[dict[str, str]]:
        """Its messages for a chat template, `role` and `content` each; a passage is one answer, a prompt has none."""
        turns = [*self.context]
        if self.prompt:
            turns.append(Turn("user", self.prompt))
        if self.answer is not None:
            turns.append(Turn("assistant", self.answer))
        return [{"role": turn.role, "content": turn.text} for turn in turns]


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that was left out.  `line` counts from 1 (rows in a table without lines); 0: the file as a whole.

    `reason` never quotes a prompt or answer, since a corpus may contain visitors' words.
    """

    line: int
    reason: str
    file: str = ""

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{where}: {self.reason}"


Entry = Pair | RefusedLine
"""What a reader yields, in the order of the file."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row, JSON object or data set row: its columns by name, and the line it begins on."""

    line: int
    values: dict[str, object]
    part: Part = "train"


def clean(text: str, name: str) -> str:
    """A text as it is used: line ends as `\\n`, no blanks around it.

    Args:
        name: what the text is, for the message: "the prompt".

    Raises:
        RecordRefusedError: it is empty or too long, holds what is no text, or the markup of a chat template.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.strip()
    if not text:
        raise RecordRefusedError(f"{name} is empty")
    if len(text) > MAX_TEXT:
        raise RecordRefusedError(f"{name} has {len(text):,} characters; at most {MAX_TEXT:,} are read")
    if broken := _UNUSABLE.search(text):
        raise RecordRefusedError(f"{name} holds {_description(broken[0])}")
    if ("[" in text or "<" in text) and (markup := CHAT_MARKUP.search(text)):
        raise RecordRefusedError(f"chat markup {markup[0]} in {name}; give the words alone, without a template")
    return text


def _description(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"the byte 0x{code - 0xDC00:02x}, which is not of the file's encoding"
    if code >= 0xD800:
        return f"half a character (\\u{code:04x}): a pair of escapes was torn apart"
    return f"the control character U+{code:04X}"
