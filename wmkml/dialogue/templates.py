"""Named templates: what stands around prompt and answer when a model is taught, and when it is asked afterwards.

A template is the model's own chat template, one of `NAMED`, or a file of the artist's.  Whichever it is, it becomes a chat
template in Jinja for one tokenizer, so that `chat_template.py` renders all of them (typed markup stays text), and other
programs can read what is written beside an adapter.

In a text such as "Anweisung: {prompt}\\nAntwort: {answer}" the blank before the answer belongs to the answer: tokenizers
join it to the first word, and a model that was taught " Ja" cannot begin after a blank of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from wmkml.dialogue.chat_template import Message, plain_ids, training_ids_of
from wmkml.system import durable_files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE_FILE = "template.json"
"""In an adapter's folder: the name of the template it was taught with, and the texts that end an answer."""

JINJA_FILE = "chat_template.jinja"
"""Beside it: the template itself, as vLLM's `--chat-template` and transformers read it."""

AUTO, CHAT = "auto", "chat"
"""`auto`: the model's chat template, or ALPACA where it has none.  `chat`: the model's, or an error."""

NONE = "none"
"""The words alone: what is taught with passages, whose words go on after whatever is asked."""

ALPACA = "alpaca"

BETWEEN = "\n\n"
"""Between two exchanges of a conversation, and after a system prompt that has no place of its own."""

JINJA_ENDINGS = (".jinja", ".jinja2", ".j2")

_PLACEHOLDER = re.compile(r"\{(system|prompt|answer)\}")


class TemplateError(ValueError):
    """There is no such template, or it cannot be used with this model.  The message says what to do."""


@dataclass(frozen=True)
class ExchangeText:
    """A template as a text with `{prompt}` and `{answer}`, repeated for every exchange.

    Attributes:
        text: of one exchange.
        opening: stands before the first exchange where there is no system prompt.
        system: holds `{system}`; stands before the first exchange where there is a system prompt.
    """

    text: str
    opening: str = ""
    system: str = "{system}" + BETWEEN


NAMED = {
    # Stanford Alpaca's form; a corpus's `input` follows its instruction after an empty line.
    ALPACA: ExchangeText(
        "### Instruction:\n{prompt}\n\n### Response:\n{answer}",
        opening="Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n",
    ),
    # What TII's instruction-tuned Falcon models were taught with.
    "falcon": ExchangeText("User: {prompt}\nAssistant: {answer}", system="System: {system}\n"),
    "anweisung": ExchangeText("Anweisung: {prompt}\nAntwort: {answer}"),
    "plain": ExchangeText("{prompt}\n{answer}"),
}
"""The templates that have a name, beside `auto` and `chat`."""


@dataclass(frozen=True)
class DialogueTemplate:
    """A template made for one tokenizer.

    Attributes:
        name: a key of NAMED, `chat`, or the name of the file it was read from.
        jinja: it as a chat template.
        stops: texts that only the next exchange begins with: a model that was not taught to end writes them, and its
            answer ends before.
    """

    name: str
    jinja: str
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class RenderedSample:
    """A conversation, or a passage, as training reads it.

    Attributes:
        ids: of all tokens, the end token last.
        answer_start: index of the first token of the last answer; of a passage, of its first word.
    """

    ids: tuple[int, ...]
    answer_start: int


def find_template(name: str, tokenizer: PreTrainedTokenizerBase) -> DialogueTemplate:
    """The template of this name, or in this file, for a tokenizer.

    A file is a chat template in Jinja (.jinja, .j2), an adapter's folder or its template.json, or a text with `{prompt}`
    and `{answer}`; a line of it that holds `{system}` is written once, and only where there is a system prompt.

    Raises:
        TemplateError: there is none, it cannot be read, or the tokenizer has no end token to close an answer with.
    """
    if tokenizer.eos_token_id is None:
        raise TemplateError("This tokenizer has no end token, so no answer could be taught to end.")
    if name in (AUTO, CHAT):
        own = tokenizer.chat_template
        # Some models have several; transformers takes this one.
        own = own.get("default") if isinstance(own, dict) else own
        if own:
            return DialogueTemplate(CHAT, own)
        if name == CHAT:
            raise TemplateError(f"This model has no chat template. Take --template {', '.join(NAMED)}, or a file.")
        name = ALPACA
    if name in NAMED:
        return _from_text(name, NAMED[name], tokenizer)
    path = Path(name)
    if path.is_dir() or path.name == TEMPLATE_FILE:
        return load_template(path if path.is_dir() else path.parent)
    if not path.is_file():
        raise TemplateError(f"There is no template or file {name}. Templates: {', '.join([AUTO, CHAT, *NAMED])}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path} cannot be read as UTF-8 text: {error}.") from None
    if path.suffix.lower() in JINJA_ENDINGS:
        return DialogueTemplate(path.stem, _checked(text, path))
    return _from_text(path.stem, _exchange_text(text, path), tokenizer)


def bare_template(tokenizer: PreTrainedTokenizerBase) -> DialogueTemplate:
    """The template NONE for a tokenizer: contents as passages are trained, divided by an empty line."""
    begin = "{{- bos_token -}}" if _begin_ids(tokenizer) else ""
    jinja = (
        f"{begin}{{%- for message in messages -%}}{{%- if not loop.first -%}}{_literal(BETWEEN)}{{%- endif -%}}"
        "{{- message['content'] -}}{%- if message['role'] == 'assistant' -%}{{- eos_token -}}{%- endif -%}{%- endfor -%}"
    )
    return DialogueTemplate(NONE, jinja)


def use_template(tokenizer: PreTrainedTokenizerBase, template: DialogueTemplate) -> None:
    """Let everything that `chat_template.py` does with this tokenizer go by this template."""
    tokenizer.chat_template = template.jinja


def render_sample(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> RenderedSample:
    """The tokens of a conversation that ends with an answer, or of a passage, by the tokenizer's template.

    Args:
        messages: a single assistant's message is a passage: it stands without a template, and is trained whole.

    Raises:
        MessagesRefusedError: the template cannot express them.
    """
    if len(messages) == 1 and messages[0]["role"] == "assistant":
        begin = _begin_ids(tokenizer)
        ids = [*begin, *plain_ids(tokenizer, messages[0]["content"]), tokenizer.eos_token_id]
        return RenderedSample(tuple(ids), len(begin))
    ids, start = training_ids_of(tokenizer, messages)
    return RenderedSample(tuple(ids), start)


def save_template(template: DialogueTemplate, folder: Path) -> None:
    """Write it into an adapter's or a model's folder, as TEMPLATE_FILE and JINJA_FILE."""
    content = {"name": template.name, "stops": list(template.stops), "jinja": JINJA_FILE}
    durable_files.write(folder / JINJA_FILE, template.jinja.encode())
    durable_files.write(folder / TEMPLATE_FILE, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def load_template(folder: Path) -> DialogueTemplate:
    """The template that an adapter in this folder was taught with.

    Raises:
        TemplateError: the folder has none, or it is broken.
    """
    path = folder / TEMPLATE_FILE
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        name, stops = str(content["name"]), tuple(map(str, content["stops"]))
        jinja = (folder / JINJA_FILE).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TemplateError(f"{folder} holds no template: {Path(error.filename).name} is missing.") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise TemplateError(f"{path} is not a template as `wmkml finetune` writes it.") from None
    return DialogueTemplate(name, _checked(jinja, folder / JINJA_FILE), stops)


def has_template(folder: Path) -> bool:
    """Whether the folder names the template it was taught with."""
    return (folder / TEMPLATE_FILE).is_file()


def _from_text(name: str, exchange: ExchangeText, tokenizer: PreTrainedTokenizerBase) -> DialogueTemplate:
    before, _, rest = exchange.text.partition("{prompt}")
    middle, _, after = rest.partition("{answer}")
    open_middle = middle.rstrip(" \t")
    blank = middle[len(open_middle) :]
    system_before, _, system_after = exchange.system.partition("{system}")
    begin = "{{- bos_token -}}" if _begin_ids(tokenizer) else ""
    jinja = (
        "{%- if messages[0]['role'] == 'system' -%}"
        f"{begin}{_literal(system_before)}{{{{- messages[0]['content'] -}}}}{_literal(system_after)}"
        "{%- set turns = messages[1:] -%}{%- else -%}"
        f"{begin}{_literal(exchange.opening)}"
        "{%- set turns = messages -%}{%- endif -%}"
        "{%- for message in turns -%}{%- if message['role'] == 'user' -%}"
        f"{{%- if not loop.first -%}}{_literal(BETWEEN)}{{%- endif -%}}"
        f"{_literal(before)}{{{{- message['content'] -}}}}{_literal(open_middle)}"
        "{%- else -%}"
        f"{_literal(blank)}{{{{- message['content'] -}}}}{_literal(after)}{{{{- eos_token -}}}}"
        "{%- endif -%}{%- endfor -%}"
    )
    # One line break: what a model was not taught to write, it writes with one or with two.
    stops = (f"\n{before.strip()}",) if before.strip() else ()
    return DialogueTemplate(name, jinja, stops)


def _literal(text: str) -> str:
    """A text as an expression of Jinja that prints it, whatever it holds."""
    # Jinja reads the escapes of a JSON string; a brace would end or begin an expression only outside of one.
    return f"{{{{- {json.dumps(text, ensure_ascii=False)} -}}}}" if text else ""


def _exchange_text(text: str, path: Path) -> ExchangeText:
    text = text.replace("\r\n", "\n").removesuffix("\n")
    places = [match[1] for match in _PLACEHOLDER.finditer(text)]
    if places not in (["prompt", "answer"], ["system", "prompt", "answer"]):
        raise TemplateError(
            f"{path}: a template has {{prompt}} and after it {{answer}}, each once, and before them {{system}} or not; "
            f"this one has {', '.join('{' + place + '}' for place in places) or 'none of them'}. "
            f"A chat template in Jinja has the ending {JINJA_ENDINGS[0]}."
        )
    if places[0] == "prompt":
        return ExchangeText(text)
    at = text.index("{prompt}")
    head, newline, before = text[:at].rpartition("\n")
    if "{system}" not in head:
        raise TemplateError(f"{path}: {{system}} stands on a line of its own, above that of {{prompt}}.")
    return ExchangeText(before + text[at:], system=head + newline)


def _checked(jinja: str, path: Path) -> str:
    try:
        # Blocks that only transformers knows, and which print what is in them.
        known = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", jinja)
        jinja2.Environment(autoescape=False, extensions=["jinja2.ext.loopcontrols"]).parse(known)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{path}, line {error.lineno}: this is no template in Jinja: {error.message}.") from None
    return jinja


def _begin_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that this tokenizer puts before a text by itself: its begin token, or none.

    Where it adds none, but has one and a chat template of its own that writes it, that counts too.
    """
    ids, alone = list(tokenizer("a")["input_ids"]), list(tokenizer("a", add_special_tokens=False)["input_ids"])
    begin = tokenizer.bos_token_id
    if begin is None:
        return []
    writes = isinstance(tokenizer.chat_template, str) and "bos_token" in tokenizer.chat_template
    return [begin] if writes or (len(ids) > len(alone) and ids[0] == begin) else []
