"""Choosing tokens by hand: look at what else could have stood somewhere, take it, and let the model go on from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wmkml.generation.answering import continue_ids
from wmkml.generation.decoding import Decoding
from wmkml.generation.probabilities import TextReading, read_ids

if TYPE_CHECKING:
    from wmkml.generation.speaker import Speaker

HELP = """\
  7        what else could stand at position 7
  7 2      put the second of these there, and let the model go on
  7 =word  put this text there instead, and go on
  +        go on from the end;  + 20: with 20 tokens
  back     undo;  show: the text again;  help;  quit"""


@dataclass(frozen=True)
class Draft:
    """A text under way: its tokens, and where each comes from (a TokenPart)."""

    ids: tuple[int, ...]
    parts: tuple[str, ...]


class TokenChoice:
    """A text that grows by choices, of one speaker; every change can be undone.

    Args:
        reading: the text to begin with.
        continued: tokens that the model adds after a choice.
        decoding: how it adds them.
    """

    def __init__(self, speaker: Speaker, reading: TextReading, continued: int, decoding: Decoding) -> None:
        self._speaker, self._continued, self._decoding = speaker, continued, decoding
        self._alternatives = max((len(token.alternatives) for token in reading.tokens), default=0)
        self._past: list[TextReading] = []
        self.reading = reading

    @property
    def first(self) -> int:
        """The first position that can be chosen: what stands before it is the template's, or nothing."""
        return next((token.position for token in self.reading.shown if token.probability is not None), 0)

    def choose(self, position: int, token: int) -> TextReading:
        """Put a token at a position, drop what came after, and go on.

        Raises:
            IndexError: the position cannot be chosen.
        """
        return self._replace_from(position, [token])

    def put(self, position: int, text: str) -> TextReading:
        """Put a text at a position, drop what came after, and go on.

        Raises:
            IndexError: the position cannot be chosen.
            ValueError: the text does not fit the model's window.
        """
        return self._replace_from(position, self._speaker.tokenizer.encode(text, add_special_tokens=False))

    def go_on(self, tokens: int = 0) -> TextReading:
        """Let the model add tokens at the end."""
        return self._grow(self._draft(len(self.reading.tokens)), tokens or self._continued)

    def undo(self) -> TextReading:
        """The text before the last change; where there was none, as it is."""
        if self._past:
            self.reading = self._past.pop()
        return self.reading

    def _draft(self, length: int) -> Draft:
        tokens = self.reading.tokens[:length]
        return Draft(tuple(token.id for token in tokens), tuple(token.part for token in tokens))

    def _replace_from(self, position: int, ids: Sequence[int]) -> TextReading:
        if not self.first <= position <= len(self.reading.tokens):
            raise IndexError(
                f"There is no position {position}; there are {self.first} to {len(self.reading.tokens) - 1}."
            )
        draft = self._draft(position)
        chosen = Draft((*draft.ids, *ids), (*draft.parts, *["text"] * len(ids)))
        return self._grow(chosen, self._continued)

    def _grow(self, draft: Draft, tokens: int) -> TextReading:
        room = self._speaker.window - len(draft.ids)
        if room < 0:
            raise ValueError(
                f"That would be {len(draft.ids)} tokens; {self._speaker.label} reads {self._speaker.window}."
            )
        ends = self._decoding.end_ids(self._speaker)
        ids, parts = list(draft.ids), list(draft.parts)
        if tokens and room > 0 and ids[-1] not in ends:
            (answer, *_) = continue_ids(self._speaker, ids, self._decoding, min(tokens, room))
            ids += answer.ids
            parts += ["answer"] * len(answer.ids)
        after = read_ids(
            self._speaker,
            ids,
            parts,
            temperature=self.reading.temperature,
            alternatives=self._alternatives,
        )
        self._past.append(self.reading)
        self.reading = replace(after, label=self.reading.label)
        return self.reading


def choose_tokens(
    choice: TokenChoice,
    ask: Callable[[str], str],
    show: Callable[[TextReading], None],
    tell: Callable[[str], None],
) -> TextReading:
    """The conversation about it: reads commands until `quit` or the end of the input.  Returns the last text.

    Args:
        ask: shows a prompt and returns a line; EOFError ends.
        show: shows a text.
        tell: shows a sentence.
    """
    tell(HELP)
    while True:
        try:
            line = ask("token> ").strip()
        except EOFError:
            return choice.reading
        if line in ("quit", "q", "exit"):
            return choice.reading
        try:
            _obey(line, choice, show, tell)
        except (IndexError, ValueError) as error:
            tell(f"{error} `help` lists what can be done.")


def _whole_number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word} is no whole number.")
    return int(word)


def _obey(line: str, choice: TokenChoice, show: Callable[[TextReading], None], tell: Callable[[str], None]) -> None:
    word, _, rest = line.partition(" ")
    rest = rest.strip() if not rest.lstrip().startswith("=") else rest.lstrip()
    if word in ("", "show"):
        show(choice.reading)
    elif word == "help":
        tell(HELP)
    elif word == "back":
        show(choice.undo())
    elif word.startswith("+"):
        count = word[1:] or rest
        show(choice.go_on(_whole_number(count) if count else 0))
    elif not word.isdecimal():
        raise ValueError(f"{word} is no position.")
    elif rest.startswith("="):
        show(choice.put(int(word), rest[1:]))
    else:
        tokens = choice.reading.tokens
        position = int(word)
        if not choice.first <= position < len(tokens):
            raise IndexError(f"There is no position {position}; there are {choice.first} to {len(tokens) - 1}.")
        others = tokens[position].alternatives
        if rest:
            number = _whole_number(rest)
            if not 1 <= number <= len(others):
                raise IndexError(f"There is no alternative {number} at {position}; there are 1 to {len(others)}.")
            show(choice.choose(position, others[number - 1].id))
            return
        token = tokens[position]
        tell(f"  at {position} stands {token.text!r}: {token.probability or 0:.2%}, rank {token.rank}")
        for number, other in enumerate(others, 1):
            tell(f"  {number}  {other.text!r:<16} {other.probability:8.2%}")
