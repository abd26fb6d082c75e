"""Prompts asked of several speakers, and the answers side by side: as a table for a terminal, a DataFrame, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wmkml.generation.answering import Answer, continue_ids
from wmkml.generation.colours import coloured
from wmkml.generation.probabilities import TextReading, read_ids

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table

    from wmkml.dialogue.chat_template import Message
    from wmkml.generation.decoding import Decoding
    from wmkml.generation.speaker import Speaker


@dataclass(frozen=True)
class Reply:
    """The answers of one speaker to one prompt.

    Attributes:
        prompt: the last message.
        dropped: messages of the conversation, or examples, that did not fit the model's window.
        readings: of every answer, where its probabilities were asked for.
    """

    label: str
    prompt: str
    answers: tuple[Answer, ...]
    dropped: int = 0
    readings: tuple[TextReading, ...] = ()


def ask(
    speaker: Speaker,
    messages: Sequence[Message],
    decoding: Decoding,
    *,
    probabilities: bool = False,
    on_text: Callable[[str], None] | None = None,
    on_token: Callable[[int], None] = lambda count: None,
) -> Reply:
    """One prompt of one speaker.

    Args:
        messages: a conversation that ends with the prompt.
        probabilities: read every answer token by token.
        on_text, on_token: as `answering.answer`.

    Raises:
        As `answering.answer`.
    """
    fitted = speaker.prompt_ids(messages, decoding.max_tokens)
    answers = continue_ids(speaker, fitted.ids, decoding, fitted.max_tokens, on_text, on_token)
    readings = []
    if probabilities:
        temperature = decoding.chosen_temperature if decoding.samples else None
        for answer in answers:
            parts = ["template"] * len(fitted.ids) + ["answer"] * len(answer.ids)
            readings.append(read_ids(speaker, [*fitted.ids, *answer.ids], parts, temperature=temperature))
    return Reply(speaker.label, messages[-1]["content"], tuple(answers), fitted.dropped, tuple(readings))


def side_by_side(replies: Sequence[Reply]) -> Table:
    """A table for a terminal: a row for each prompt, a column for each speaker."""
    from rich.table import Table
    from rich.text import Text

    labels = list(dict.fromkeys(reply.label for reply in replies))
    table = Table(header_style="bold", show_lines=True)
    table.add_column("prompt", ratio=1, overflow="fold")
    for label in labels:
        table.add_column(Text(label), ratio=2, overflow="fold")
    for prompt, row in _rows(replies):
        table.add_row(Text(prompt), *(_cell(row[label]) if label in row else Text("–") for label in labels))
    return table


def to_frame(replies: Sequence[Reply]) -> DataFrame:
    """A DataFrame with a row for each answer: prompt, model, number, answer, finish, tokens."""
    from pandas import DataFrame

    columns = ["prompt", "model", "number", "answer", "finish", "tokens"]
    rows = [
        (reply.prompt, reply.label, number, answer.text, answer.finish, len(answer.ids))
        for reply in replies
        for number, answer in enumerate(reply.answers, 1)
    ]
    return DataFrame.from_records(rows, columns=columns)


def to_json(replies: Sequence[Reply], decoding: Decoding) -> dict[str, Any]:
    """Everything as JSON: the settings, and for each prompt the answers of each speaker."""
    results = []
    for reply in replies:
        answers = []
        for index, answer in enumerate(reply.answers):
            entry: dict[str, Any] = {"text": answer.text, "finish": answer.finish, "tokens": len(answer.ids)}
            if reply.readings:
                entry["probabilities"] = [
                    {"token": token.text, "id": token.id, "probability": token.probability, "rank": token.rank,
                     "entropy": token.entropy}
                    for token in reply.readings[index].shown
                ]  # fmt: skip
            answers.append(entry)
        results.append({"prompt": reply.prompt, "model": reply.label, "dropped": reply.dropped, "answers": answers})
    settings = {
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.chosen_temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k,
        "beams": decoding.beams,
        "no_repeat_ngram": decoding.no_repeat_ngram,
        "repetition_penalty": decoding.repetition_penalty,
        "stop": list(decoding.stop),
        "stop_ids": list(decoding.stop_ids),
        "seed": decoding.seed,
        "n": decoding.count,
    }
    return {"settings": settings, "results": results}


def _rows(replies: Sequence[Reply]) -> list[tuple[str, dict[str, Reply]]]:
    """Replies by prompt, in order; the same prompt asked twice is two rows."""
    rows: list[tuple[str, dict[str, Reply]]] = []
    for reply in replies:
        if not rows or rows[-1][0] != reply.prompt or reply.label in rows[-1][1]:
            rows.append((reply.prompt, {}))
        rows[-1][1][reply.label] = reply
    return rows


def _cell(reply: Reply) -> Any:
    from rich.text import Text

    texts = [coloured(reading.shown) for reading in reply.readings] or [Text(answer.text) for answer in reply.answers]
    if len(texts) == 1:
        return texts[0]
    numbered = [Text(f"[{number}] ").append_text(text) for number, text in enumerate(texts, 1)]
    return Text("\n").join(numbered)
