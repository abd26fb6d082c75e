"""Replaces the entries of word lists in a text, or in a text that comes in tokens, however it is cut into them.

An entry is matched as a whole word with its endings, and in obvious disguises: accents, digits and signs for letters,
letters repeated, signs between letters (`a-b`, `a.b`), every letter apart (`a b c`), a star for a letter.  Of several
entries that begin at the same place the longest is taken.

A stream holds its end back while that may be the beginning of an entry, and no longer: what else a text may become does
not change what is given out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from wmkml.decency.characters import WILDCARD, fold, read_character

REPLACEMENT = "…"

MAX_SPAN = 120
"""The most characters of a disguised entry: what is longer is not held back for it."""

MAX_GAP = 3
"""The most separators between two letters of an entry."""

APOSTROPHES = "'’"
"""They stand between two words that are written together (`who're`), and disguise none."""

LEAST_RUN = 3
"""A letter that is repeated to disguise a word comes so often at least: twice, it may be another word."""

Item = TypeVar("Item")


@dataclass(eq=False)
class _Node:
    """A place in the tree of entries, after `letter`; a space stands for what separates the words of an entry."""

    letter: str = ""
    children: dict[str, _Node] = field(default_factory=dict)
    is_entry: bool = False
    is_open: bool = False
    """Any ending makes it an entry."""


class _State(NamedTuple):
    """A way in which the text so far may be the beginning of an entry.

    Attributes:
        spelling: "" after a first letter, "plain" where letters touch or have signs between them, "apart" where each
            stands by itself.
        gap: separators since the last letter.
        has_space: whether a space is among them.
        balance: plain letters less disguised ones; an entry has at least as many plain ones.
        run: how often the last letter has come in a row, at most 3.
        is_repeated: more often than the entry has it.
    """

    node: _Node
    spelling: str = ""
    gap: int = 0
    has_space: bool = False
    balance: int = 0
    run: int = 1
    is_repeated: bool = False

    @property
    def is_disguise(self) -> bool:
        """Whether the last letter may be left: repeated at all, it is at least three times; `Moos` is no `Mos`."""
        return not self.is_repeated or self.run >= LEAST_RUN


class _Match(NamedTuple):
    """`end`: where an entry ends, None without one; `pending`: more text may change that."""

    end: int | None
    pending: bool


class Scan(NamedTuple):
    """What has been decided of a text.

    Attributes:
        visible: for each character that is decided, what is shown for it.
        after_word: whether the last of them belongs to a word.
    """

    visible: list[str]
    after_word: bool


class WordFilter:
    """The entries of word lists, ready to be looked for.  Without entries it changes nothing."""

    def __init__(self, entries: Iterable[str], open_entries: Iterable[str] = ()) -> None:
        """Take entries as they are written: words, or several words with a space between them.

        Args:
            open_entries: entries that also match with any ending.
        """
        self._root = _Node()
        for entry in entries:
            self._add(entry, is_open=False)
        for entry in open_entries:
            self._add(entry, is_open=True)

    def __bool__(self) -> bool:
        """Whether there is any entry."""
        return bool(self._root.children)

    def apply(self, text: str) -> str:
        """The text with every entry replaced by `REPLACEMENT`."""
        return "".join(self.visible(text))

    def visible(self, text: str) -> list[str]:
        """For each character of a whole text what is shown for it: itself, the replacement, or nothing."""
        return self.scan(text, after_word=False, is_whole=True).visible

    def matches(self, text: str) -> bool:
        """Whether an entry is in the text."""
        return bool(self) and self.visible(text) != list(text)

    def _add(self, entry: str, *, is_open: bool) -> None:
        folded = _folded_entry(entry)
        if len(folded.replace(" ", "")) < 2:
            raise ValueError("an entry has two letters at least")
        node = self._root
        for letter in folded:
            node = node.children.setdefault(letter, _Node(letter))
        node.is_entry = True
        node.is_open = node.is_open or is_open

    def scan(self, text: str, *, after_word: bool, is_whole: bool) -> Scan:
        """Decide as much of a text as more text cannot change.

        Args:
            after_word: whether the character before it belongs to a word.
            is_whole: whether the text is at its end; then everything is decided.
        """
        if not self:
            return Scan(list(text), after_word)
        visible: list[str] = []
        place = 0
        while place < len(text):
            reading = read_character(text[place])
            if not after_word and (reading.letters[:1] in self._root.children or reading.disguises):
                end, pending = self._match(text, place, is_whole)
                if pending:
                    break
                if end is not None:
                    visible += [REPLACEMENT, *[""] * (end - place - 1)]
                    place, after_word = end, True
                    continue
            visible.append(text[place])
            if not reading.ignored:
                after_word = bool(reading.letters)
            place += 1
        return Scan(visible, after_word)

    def _match(self, text: str, start: int, is_whole: bool) -> _Match:
        """The longest entry that begins at this place."""
        states, end = {_State(self._root)}, None
        for place in range(start, min(len(text), start + MAX_SPAN)):
            character = text[place]
            reading = read_character(character)
            if reading.ignored:
                continue
            if reading.separates and self._ends_entry(states):
                end = place
            states = self._step(states, character)
            if not states:
                return _Match(end, pending=False)
        if len(text) >= start + MAX_SPAN:
            # A word that goes on for so long is cut: what is an entry of it does not leave.
            is_open = any(state.node.is_open and not state.gap for state in states)
            return _Match(start + MAX_SPAN if is_open else end, pending=False)
        if not is_whole:
            return _Match(end, pending=True)
        return _Match(len(text) if self._ends_entry(states) else end, pending=False)

    def _ends_entry(self, states: set[_State]) -> bool:
        return any(
            state.node.is_entry and not state.gap and state.balance >= 0 and state.is_disguise for state in states
        )

    def _step(self, states: set[_State], character: str) -> set[_State]:
        reading = read_character(character)
        after: set[_State] = set()
        if reading.letters:
            spelled = states
            for letter in reading.letters:
                spelled = {next_state for state in spelled for next_state in self._read(state, letter, 1)}
            after |= spelled
        for letter in reading.disguises:
            after |= {next_state for state in states for next_state in self._read(state, letter, -1)}
        if reading.separates:
            after |= {next_state for state in states for next_state in self._separate(state, character)}
        return after

    def _read(self, state: _State, letter: str, weight: int) -> Iterator[_State]:
        """The states after a letter; `weight`: −1 for one that is disguised."""
        node = state.node
        repeats = node.letter == letter and not state.gap
        run = min(state.run + 1, LEAST_RUN) if repeats else 1
        if node.is_open and not state.gap and weight > 0:
            yield state
        elif repeats:
            yield state._replace(run=run, is_repeated=True)
        child = node.children.get(letter)
        if child is None or (spelling := _spelling_after(state)) is None or not (repeats or state.is_disguise):
            return
        is_repeated = repeats and state.is_repeated
        yield _State(child, spelling, balance=state.balance + weight, run=run, is_repeated=is_repeated)

    def _separate(self, state: _State, character: str) -> Iterator[_State]:
        """The states after a character that separates words, or stands between the letters of one."""
        node = state.node
        if not node.letter:
            return  # an entry begins with a letter
        if node.letter == " ":
            yield state
            return
        if not state.is_disguise:
            return
        if character == WILDCARD and not state.gap and state.spelling != "apart":
            for letter, child in node.children.items():
                if letter != " ":
                    yield _State(child, "plain", balance=state.balance - 1)
        if (between := node.children.get(" ")) is not None and not state.gap:
            yield _State(between, balance=state.balance)
        has_space = state.has_space or character.isspace()
        goes_on = character not in APOSTROPHES and any(letter != " " for letter in node.children)
        if goes_on and state.gap < MAX_GAP and not (has_space and state.spelling == "plain"):
            yield state._replace(gap=state.gap + 1, has_space=has_space)


def _spelling_after(state: _State) -> str | None:
    """How an entry is spelled once another letter has come; None where the two cannot belong to one word."""
    if not state.node.letter or state.node.letter == " ":
        return ""
    touching = not state.gap or not state.has_space
    if touching:
        # Letters that touch belong to no word whose letters stand apart; those with signs between them may.
        return None if state.spelling == "apart" and not state.gap else state.spelling or "plain"
    return None if state.spelling == "plain" else "apart"


def _folded_entry(entry: str) -> str:
    return " ".join(fold(entry).split())


class TokenFilter(Generic[Item]):
    """A filter for a text that comes in tokens; each token's text is given out with what came with it.

    The texts that are given out, joined, are what `WordFilter.apply` makes of the tokens' texts, joined.
    """

    def __init__(self, words: WordFilter) -> None:
        self._words = words
        self._held: deque[tuple[int, Item]] = deque()
        """The tokens that are held back: each one's length, and what came with it."""
        self._undecided = ""
        self._visible: list[str] = []
        """For each character of the held tokens that is decided, what is shown for it."""
        self._after_word = False

    def push(self, text: str, item: Item) -> list[tuple[str, Item]]:
        """Add a token; the tokens that are certain now, each with its visible text."""
        self._held.append((len(text), item))
        self._undecided += text
        return self._release(is_whole=False)

    def finish(self) -> list[tuple[str, Item]]:
        """The tokens that were held back, at the end of the text."""
        return self._release(is_whole=True)

    def _release(self, is_whole: bool) -> list[tuple[str, Item]]:
        scan = self._words.scan(self._undecided, after_word=self._after_word, is_whole=is_whole)
        self._undecided = self._undecided[len(scan.visible) :]
        self._after_word = scan.after_word
        self._visible += scan.visible
        released = []
        while self._held and self._held[0][0] <= len(self._visible):
            length, item = self._held.popleft()
            released.append(("".join(self._visible[:length]), item))
            del self._visible[:length]
        return released
