"""From messages to token ids, for generation and training: only the template's markup becomes special ids.

The template is rendered with private-use marks in place of the contents, which shows which characters of the rendering
are the template's and which a person typed.  If the contents contain none of the tokenizer's markup, the rendering is
tokenized as it is, like `apply_chat_template` does.  If they do ("[INST]", "</s>"), only the template's markup becomes
special ids, and everything between is tokenized as plain text.  transformers is imported only to load a tokenizer.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from wmkml.system.memory import no_garbage_collection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
"""A message with `role` (system, user, assistant) and `content`."""

TEKKEN = "tekken.json"
"""The vocabulary of Mistral's newer tokenizers, in their own format."""

_COMMON_KIND = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""The names of transformers' tokenizer that is all in `tokenizer.json`."""

_MARK = "\ue000{}\ue001"
_MARKS = re.compile("\ue000([0-9]+)\ue001")


class MessagesRefusedError(ValueError):
    """The model's template cannot express these messages.  The error's text quotes none of them."""


class PromptTooLongError(ValueError):
    """The prompt alone does not fit the model's window.

    Attributes:
        count: its tokens, including system prompt and markup.
        limit: the most tokens a prompt may have.
    """

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"The prompt has {count} tokens; at most {limit} fit the model's window. Shorten it.")
        self.count = count
        self.limit = limit


@dataclass(frozen=True)
class FittedPrompt:
    """A prompt that fits the window: its ids, the tokens left for the answer, and the number of messages dropped."""

    ids: tuple[int, ...]
    max_tokens: int
    dropped: int


@dataclass(frozen=True)
class _Piece:
    """A part of a rendering: the template's own text, or (`typed`) a message's content."""

    text: str
    typed: bool


def load_tokenizer(folder: Path, *, needs_template: bool = True) -> PreTrainedTokenizerBase:
    """Load the tokenizer in a model's folder, without the network.

    From Mistral's `tekken.json` a tokenizer of transformers' common kind is made: transformers itself would take one of
    mistral-common's, which cannot read typed markup as text.  The ids are the same.

    Args:
        needs_template: the caller has no other template (`templates.py`) for it.

    Raises:
        ValueError: it has no chat template, and needs one.
    """
    alone = not (folder / "tokenizer.json").is_file()
    tokenizer: PreTrainedTokenizerBase
    if (folder / TEKKEN).is_file() and (alone or importlib.util.find_spec("mistral_common")):
        tokenizer = _from_tekken(folder)
    elif not alone and _is_of_the_common_kind(folder):
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    else:
        with no_garbage_collection():
            from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, mistral_format=False)
    if needs_template and not tokenizer.chat_template:
        raise ValueError(f"{folder}: the tokenizer has no chat template. Use an instruction-tuned model.")
    return tokenizer


def _is_of_the_common_kind(folder: Path) -> bool:
    """Whether AutoTokenizer would choose transformers' common tokenizer, as it does for Mistral's models and the understudy.

    To have it choose imports every model's configuration, and torch: eight seconds, where two are enough.
    """
    try:
        about_model, about_tokenizer = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "tokenizer_config.json")
        )
        return (
            about_model["model_type"] == "mistral"
            and about_tokenizer["tokenizer_class"] in _COMMON_KIND
            and "auto_map" not in about_tokenizer
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False  # what is wrong with it, AutoTokenizer says


def _from_tekken(folder: Path) -> PreTrainedTokenizerBase:
    from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

    # Files beside it win over this one; mistral-common makes a template where there is none at all.
    config = folder / "tokenizer_config.json"
    template = None
    if config.is_file() and not (folder / "chat_template.jinja").is_file():
        template = json.loads(config.read_text(encoding="utf-8")).get("chat_template")
    try:
        return convert_tekken_tokenizer(str(folder / TEKKEN), template if isinstance(template, str) else None)
    except ImportError:
        raise ValueError(
            f"{folder}: {TEKKEN} needs mistral-common. Run `env/bin/python -m pip install mistral-common`."
        ) from None


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The token ids after which the model's answer begins; the begin token occurs where the template has it, once.

    Raises:
        MessagesRefusedError: roles do not alternate, or the last message is not a user's.
    """
    _check_roles(messages)
    if messages[-1]["role"] != "user":
        raise MessagesRefusedError("The last message must be a user's.")
    return _ids(tokenizer, _pieces(tokenizer, messages, open_answer=True))


def fit_window(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], window: int, max_tokens: int
) -> FittedPrompt:
    """The prompt with the newest exchanges that fit a window of `window` tokens beside an answer of `max_tokens`.

    The oldest exchanges are dropped first; system prompt and last prompt never.  If the last prompt alone leaves less
    room than `max_tokens`, the answer gets what is left; less than an eighth of the window (or `max_tokens`) is an
    error.

    Raises:
        PromptTooLongError: the system prompt and the last prompt do not fit.
        MessagesRefusedError: as `prompt_ids`.
    """
    _check_roles(messages)
    first = 1 if messages[0]["role"] == "system" else 0
    head, turns = list(messages[:first]), list(messages[first:])
    wanted = min(max_tokens, window - 1)

    def without(exchanges: int) -> list[int]:
        return prompt_ids(tokenizer, head + turns[2 * exchanges :])

    dropped, most = 0, (len(turns) - 1) // 2
    ids = without(dropped)
    if len(ids) + wanted > window and most:
        # Binary search for the smallest number of dropped exchanges: the length falls with every one.
        low, high = 1, most
        while low < high:
            middle = (low + high) // 2
            if len(without(middle)) + wanted <= window:
                high = middle
            else:
                low = middle + 1
        dropped, ids = low, without(low)
    room = window - len(ids)
    if room < min(wanted, max(1, window // 8)):
        raise PromptTooLongError(len(ids), window - min(wanted, max(1, window // 8)))
    return FittedPrompt(tuple(ids), min(wanted, room), 2 * dropped)


def training_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> tuple[list[int], int]:
    """`training_ids_of` one exchange without system prompt."""
    return training_ids_of(tokenizer, [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])


def training_ids_of(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[list[int], int]:
    """One training sample: the templated conversation, whose last message is an answer, up to and with the end token.

    Returns:
        The ids, and the index of the first one of the last answer.

    Raises:
        MessagesRefusedError: the roles do not alternate, or the last message is no answer.
    """
    _check_roles(messages)
    if messages[-1]["role"] != "assistant":
        raise MessagesRefusedError("The last message must be an answer.")
    open_ids = _ids(tokenizer, _pieces(tokenizer, messages[:-1], open_answer=True))
    ids, start = _closed_ids(tokenizer, messages, open_ids)
    if start < len(open_ids) and len(messages) > 2:
        # Some templates (Mistral's) write a system prompt, or an earlier turn, only while an answer is awaited.  The answer
        # must be learned after the very tokens it will be generated after.
        prompt = _ids(tokenizer, _pieces(tokenizer, messages[-2:-1], open_answer=True))
        answer, begin = _closed_ids(tokenizer, messages[-2:], prompt)
        if begin == len(prompt):
            return open_ids + answer[begin:], len(open_ids)
    return ids, start


def _closed_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], open_ids: Sequence[int]
) -> tuple[list[int], int]:
    """The ids of a whole conversation up to its end token, and where its answer starts: where it parts from `open_ids`."""
    ids = _ids(tokenizer, _pieces(tokenizer, messages, open_answer=False))
    start = next(
        (index for index, (open_id, id_) in enumerate(zip(open_ids, ids, strict=False)) if open_id != id_),
        min(len(open_ids), len(ids)),
    )
    end = tokenizer.eos_token_id
    if end in ids[start:]:
        # Some templates write a newline after the end token; generation stops before it.
        return ids[: len(ids) - ids[::-1].index(end)], start
    return [*ids, end], start


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a text that stands in no template; markup typed in it stays text."""
    return _ids(tokenizer, [_Piece(text, typed=True)])


def _check_roles(messages: Sequence[Message]) -> None:
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not turns:
        raise MessagesRefusedError("There is no user's message.")
    for index, message in enumerate(turns):
        if message["role"] != ("user", "assistant")[index % 2]:
            raise MessagesRefusedError(
                "After an optional system message, user and assistant must take turns, a user first; "
                f"message {index + len(messages) - len(turns) + 1} is out of turn."
            )


def _pieces(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, open_answer: bool) -> list[_Piece]:
    """The rendering of these messages in pieces.

    If the template refuses or ignores the system prompt, it is put before the first user message instead.
    """
    try:
        pieces, rendered = _render(tokenizer, messages, open_answer=open_answer)
    except jinja2.TemplateError:
        if messages[0]["role"] != "system":
            raise MessagesRefusedError("The model's chat template refuses these messages.") from None
        pieces, rendered = [], set()
    if messages[0]["role"] != "system" or 0 in rendered:
        return pieces
    system, user, *rest = messages
    merged = {"role": "user", "content": f"{system['content']}\n\n{user['content']}"}
    return _pieces(tokenizer, [merged, *rest], open_answer=open_answer)


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, open_answer: bool
) -> tuple[list[_Piece], set[int]]:
    """Render the template; returns its pieces, and the indices of the messages whose content it contains."""
    cores, marked = [], []
    for number, message in enumerate(messages):
        content = message["content"]
        core = content.strip()
        cores.append(core)
        # White space around the content stays with the mark, so that the template can strip or keep it.
        before, _, after = content.partition(core) if core else ("", "", "")
        marked.append({"role": message["role"], "content": f"{before}{_MARK.format(number)}{after}"})
    text = str(tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=open_answer))
    pieces, rendered, position = [], set(), 0
    for mark in _MARKS.finditer(text):
        number = int(mark[1])
        rendered.add(number)
        pieces += [_Piece(text[position : mark.start()], typed=False), _Piece(cores[number], typed=True)]
        position = mark.end()
    return [*pieces, _Piece(text[position:], typed=False)], rendered


def _ids(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[_Piece]) -> list[int]:
    markup = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    if not any(literal in piece.text for piece in pieces if piece.typed for literal in markup):
        return _encoded(tokenizer, "".join(piece.text for piece in pieces), special=True)
    ids: list[int] = []
    for text, number in _runs(pieces, markup):
        ids += [number] if number is not None else _plain(tokenizer, text, markup)
    return ids


def _runs(pieces: Sequence[_Piece], markup: Mapping[str, int]) -> Iterator[tuple[str, int | None]]:
    """The template's markup as (literal, id), and all text between, the template's and the typed, as (text, None)."""
    literals = re.compile("|".join(re.escape(literal) for literal in sorted(markup, key=len, reverse=True)))
    text = ""
    for piece in pieces:
        if piece.typed:
            text += piece.text
            continue
        position = 0
        for match in literals.finditer(piece.text):
            if text := text + piece.text[position : match.start()]:
                yield text, None
            yield match[0], markup[match[0]]
            text, position = "", match.end()
        text += piece.text[position:]
    if text:
        yield text, None


def _plain(tokenizer: PreTrainedTokenizerBase, text: str, markup: Mapping[str, int]) -> list[int]:
    """The ids of a text, none of them of markup (except the unknown token, which stands for unknown text)."""
    ids = _encoded(tokenizer, text, special=False)
    numbers = {number for number in markup.values() if number != tokenizer.unk_token_id}
    if not numbers.intersection(ids):
        return ids
    # Added tokens that are not flagged as special match in any text: split every literal after its first character.
    cuts, position = [0], 0
    by_length = sorted((literal for literal in markup if len(literal) > 1), key=len, reverse=True)
    literals = re.compile("|".join(map(re.escape, by_length)))
    while match := literals.search(text, position):
        position = match.start() + 1  # another literal may begin within this one
        cuts.append(position)
    pieces = [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    encoded = tokenizer(pieces, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [number for piece in encoded for number in piece]


def _encoded(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"])
