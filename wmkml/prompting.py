"""From messages to token ids, for generation and training alike: the chat template's markup is markup, typed markup is text.

The template is rendered with private marks in place of the contents, so that it is known which characters of the
rendering are the template's own and which a person wrote.  Where the contents hold no literal of the tokenizer's
markup, the rendering is tokenised as it is, which is what `apply_chat_template` would do; where they do ("[INST]",
"</s>"), only the template's markup becomes special ids and everything between is tokenised as plain text.
Knows tokenizers and templates; knows neither engines nor services, and imports transformers only to load a tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
"""A message with `role` (system, user, assistant) and `content`."""

_MARK = "\ue000{}\ue001"
_MARKS = re.compile("\ue000([0-9]+)\ue001")


class MessagesRefused(ValueError):
    """These messages are no conversation that the model's template can express.  Its text quotes none of them."""


class PromptTooLong(ValueError):
    """A prompt that fits the model's window not even alone.

    Attributes:
        count: its tokens, system prompt and markup included.
        limit: how many there may be.
    """

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"The prompt has {count} tokens; at most {limit} fit the model's window. Shorten it.")
        self.count = count
        self.limit = limit


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits: its ids, the tokens that remain for the answer, and how many messages were dropped for it."""

    ids: tuple[int, ...]
    max_tokens: int
    dropped: int


@dataclass(frozen=True)
class _Piece:
    """A part of a rendering: the template's own text, or what a person wrote."""

    text: str
    typed: bool


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, without the network.

    Raises:
        ValueError: it has no chat template, so no conversation can be put to the model.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if not tokenizer.chat_template:
        raise ValueError(f"{folder}: the tokenizer has no chat template. Use an instruction-tuned model.")
    return tokenizer


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids after which the model's answer begins; begins-of-sequence as the template has them, never doubled.

    Raises:
        MessagesRefused: roles do not alternate, or the last message is not a user's.
    """
    _check_roles(messages)
    if messages[-1]["role"] != "user":
        raise MessagesRefused("The last message must be a user's.")
    return _ids(tokenizer, _pieces(tokenizer, messages, open_answer=True))


def fit_window(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], window: int, max_tokens: int) -> Fitted:
    """The prompt with the newest exchanges that fit the window beside an answer of `max_tokens`.

    The oldest exchanges are dropped first; the system prompt and the last prompt never.  When the last prompt alone
    leaves less room than that, the answer gets what is left, as long as it is an eighth of the window.

    Raises:
        PromptTooLong: the system prompt and the last prompt do not fit.
        MessagesRefused: as `prompt_ids`.
    """
    _check_roles(messages)
    first = 1 if messages[0]["role"] == "system" else 0
    head, talk = list(messages[:first]), list(messages[first:])
    wanted = min(max_tokens, window - 1)

    def without(exchanges: int) -> list[int]:
        return prompt_ids(tokenizer, head + talk[2 * exchanges :])

    fewest, most = 0, (len(talk) - 1) // 2
    ids = without(fewest)
    if len(ids) + wanted > window and most:
        # The length falls with every exchange dropped: the smallest number that fits is found by halving.
        low, high = 1, most
        while low < high:
            middle = (low + high) // 2
            if len(without(middle)) + wanted <= window:
                high = middle
            else:
                low = middle + 1
        fewest, ids = low, without(low)
    room = window - len(ids)
    if room < min(wanted, max(1, window // 8)):
        raise PromptTooLong(len(ids), window - min(wanted, max(1, window // 8)))
    return Fitted(tuple(ids), min(wanted, room), 2 * fewest)


def training_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> tuple[list[int], int]:
    """One training sample: the templated exchange without system prompt, up to and with the end token.

    Returns:
        The ids, and the index of the first one of the answer.
    """
    asked = [{"role": "user", "content": prompt}]
    opened = _ids(tokenizer, _pieces(tokenizer, asked, open_answer=True))
    told = [*asked, {"role": "assistant", "content": answer}]
    ids = _ids(tokenizer, _pieces(tokenizer, told, open_answer=False))
    start = next(
        (place for place, (ours, theirs) in enumerate(zip(opened, ids, strict=False)) if ours != theirs),
        min(len(opened), len(ids)),
    )
    end = tokenizer.eos_token_id
    if end in ids[start:]:
        # Some templates write a newline after it, which the model never sees: it has stopped.
        return ids[: len(ids) - ids[::-1].index(end)], start
    return [*ids, end], start


def _check_roles(messages: Sequence[Message]) -> None:
    talk = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not talk:
        raise MessagesRefused("There is no user's message.")
    for place, message in enumerate(talk):
        if message["role"] != ("user", "assistant")[place % 2]:
            raise MessagesRefused(
                "After an optional system message, user and assistant must take turns, a user first; "
                f"message {place + len(messages) - len(talk) + 1} is out of turn."
            )


def _pieces(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, open_answer: bool) -> list[_Piece]:
    """The rendering of these messages in pieces; a system prompt the template refuses opens the first user's turn."""
    try:
        pieces, seen = _rendered(tokenizer, messages, open_answer=open_answer)
    except jinja2.TemplateError:
        if messages[0]["role"] != "system":
            raise MessagesRefused("The model's chat template refuses these messages.") from None
        seen = set()
        pieces = []
    if messages[0]["role"] != "system" or 0 in seen:
        return pieces
    system, asked, *rest = messages
    folded = {"role": "user", "content": f"{system['content']}\n\n{asked['content']}"}
    return _pieces(tokenizer, [folded, *rest], open_answer=open_answer)


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, open_answer: bool
) -> tuple[list[_Piece], set[int]]:
    cores, marked = [], []
    for number, message in enumerate(messages):
        content = message["content"]
        core = content.strip()
        cores.append(core)
        # The white space around a content stays with the mark, for the template to strip or to keep.
        before, _, after = content.partition(core) if core else ("", "", "")
        marked.append({"role": message["role"], "content": f"{before}{_MARK.format(number)}{after}"})
    text = str(tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=open_answer))
    pieces, seen, place = [], set(), 0
    for mark in _MARKS.finditer(text):
        number = int(mark[1])
        seen.add(number)
        pieces += [_Piece(text[place : mark.start()], typed=False), _Piece(cores[number], typed=True)]
        place = mark.end()
    return [*pieces, _Piece(text[place:], typed=False)], seen


def _ids(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[_Piece]) -> list[int]:
    markup = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    if not any(literal in piece.text for piece in pieces if piece.typed for literal in markup):
        return _encoded(tokenizer, "".join(piece.text for piece in pieces), special=True)
    ids: list[int] = []
    for text, number in _runs(pieces, markup):
        ids += [number] if number is not None else _plain(tokenizer, text, markup)
    return ids


def _runs(pieces: Sequence[_Piece], markup: Mapping[str, int]) -> Iterator[tuple[str, int | None]]:
    """The template's markup as (literal, id), and the text between, the template's and the typed together, as (text, None)."""
    literals = re.compile("|".join(re.escape(one) for one in sorted(markup, key=len, reverse=True)))
    text = ""
    for piece in pieces:
        if piece.typed:
            text += piece.text
            continue
        place = 0
        for found in literals.finditer(piece.text):
            if text := text + piece.text[place : found.start()]:
                yield text, None
            yield found[0], markup[found[0]]
            text, place = "", found.end()
        text += piece.text[place:]
    if text:
        yield text, None


def _plain(tokenizer: PreTrainedTokenizerBase, text: str, markup: Mapping[str, int]) -> list[int]:
    """Ids of a text without a single id of markup (but for the unknown token, which is what unknown text becomes)."""
    ids = _encoded(tokenizer, text, special=False)
    numbers = {number for number in markup.values() if number != tokenizer.unk_token_id}
    if not numbers.intersection(ids):
        return ids
    # Added tokens that are not called special are found in any text: break every literal after its first character.
    cuts, place = [0], 0
    literals = re.compile("|".join(re.escape(one) for one in sorted(markup, key=len, reverse=True) if len(one) > 1))
    while found := literals.search(text, place):
        place = found.start() + 1  # another may begin within this one
        cuts.append(place)
    pieces = [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    encoded = tokenizer(pieces, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [number for piece in encoded for number in piece]


def _encoded(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"])
