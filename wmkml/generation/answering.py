"""Lets a speaker answer, with transformers' own `generate`: streamed where one answer is drawn, counted where several are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wmkml.engine.text import Detokenizer, StopStrings
from wmkml.generation.decoding import Decoding
from wmkml.models.recommendations import without_recommendations

if TYPE_CHECKING:
    import torch

    from wmkml.dialogue.chat_template import Message
    from wmkml.generation.speaker import Speaker


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        text: without what ended it.
        prompt_ids: the tokens it was given.
        ids: its own tokens, with the end token or those of the stop text where they ended it.
        finish: what ended it: an end token, a stop text, or the number of tokens.
    """

    text: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    finish: Literal["end", "stop", "length"]


def answer(
    speaker: Speaker,
    messages: Sequence[Message],
    decoding: Decoding,
    on_text: Callable[[str], None] | None = None,
    on_token: Callable[[int], None] = lambda count: None,
) -> list[Answer]:
    """As many answers as `decoding.count`, the best first where there are beams.

    Args:
        messages: a conversation that ends with a prompt.
        on_text: is called with every piece of text that is certain, where one answer is drawn without beams.
        on_token: is called with the number of tokens so far, after each.

    Raises:
        SpeakerError, PromptTooLongError, MessagesRefusedError: the prompt cannot be asked.
        DecodingError: the settings do not fit this speaker.
    """
    fitted = speaker.prompt_ids(messages, decoding.max_tokens)
    return continue_ids(speaker, fitted.ids, decoding, fitted.max_tokens, on_text, on_token)


def continue_ids(
    speaker: Speaker,
    ids: Sequence[int],
    decoding: Decoding,
    max_tokens: int | None = None,
    on_text: Callable[[str], None] | None = None,
    on_token: Callable[[int], None] = lambda count: None,
) -> list[Answer]:
    """As `answer`, after these very tokens."""
    import torch
    from transformers import StoppingCriteriaList

    streaming = on_text is not None and decoding.beams == 1 and decoding.count == 1
    stops = [*decoding.stop, *speaker.stops]
    ends = set(decoding.end_ids(speaker))
    stream = _TextStream(speaker, stops, ends, len(ids), on_text) if streaming and on_text is not None else None
    watcher = _TokenCount(len(ids), on_token)
    inputs = torch.tensor([list(ids)], device=speaker.device)
    settings = decoding.settings(speaker, max_tokens or decoding.max_tokens)
    devices = [speaker.device] if speaker.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.inference_mode(),
        speaker.active() as network,
        without_recommendations(network),
    ):
        torch.manual_seed(decoding.seed)
        out = network.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=settings,
            stopping_criteria=StoppingCriteriaList([watcher]),
            tokenizer=speaker.tokenizer,
            **({"streamer": stream} if stream is not None else {}),
        )
    if stream is not None:
        stream.close()
    rows = out[:, len(ids) :].tolist()
    return [_answer(speaker, ids, row, ends, stops) for row in rows]


def _answer(speaker: Speaker, prompt: Sequence[int], row: list[int], ends: set[int], stops: Sequence[str]) -> Answer:
    """One row of what `generate` returned; rows that ended early are padded."""
    end = next((index for index, token in enumerate(row) if token in ends), None)
    kept = row if end is None else row[: end + 1]
    body = row if end is None else row[:end]
    text = str(speaker.tokenizer.decode(body, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    if places:
        # The row may be padded behind the stop text: only what belongs to it counts.
        body = _until(speaker, body, min(places), stops)
        return Answer(text[: min(places)], tuple(prompt), tuple(body), "stop")
    return Answer(text, tuple(prompt), tuple(kept), "length" if end is None else "end")


def _until(speaker: Speaker, ids: list[int], length: int, stops: Sequence[str]) -> list[int]:
    """The fewest tokens whose text holds a stop text that begins at `length`."""
    for count in range(1, len(ids) + 1):
        text = str(speaker.tokenizer.decode(ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False))
        if any(text.startswith(stop, length) for stop in stops):
            return ids[:count]
    return ids


class _TextStream:
    """transformers' interface of a streamer: gets ids, passes on text that no later token changes."""

    def __init__(
        self, speaker: Speaker, stops: Sequence[str], ends: set[int], prompt: int, on_text: Callable[[str], None]
    ) -> None:
        self._detokenizer = Detokenizer(speaker.tokenizer)
        self._stops = StopStrings(stops)
        self._ends = ends
        self._skipped = prompt
        self._on_text = on_text
        self._over = False

    def put(self, value: torch.Tensor) -> None:
        for token in value.flatten().tolist():
            if self._skipped:
                self._skipped -= 1
            elif token in self._ends:
                self.close()
            elif not self._over:
                self._emit(self._detokenizer.push(int(token)))

    def end(self) -> None:
        """Nothing: the text that is held back is passed on by `close`."""

    def close(self) -> None:
        """Pass on what is held back: half a character, or the beginning of a stop text that was none."""
        if self._over:
            return
        self._emit(self._detokenizer.finish())
        if not self._over and (held := self._stops.finish()):
            self._on_text(held)
        self._over = True

    def _emit(self, text: str) -> None:
        certain, self._over = self._stops.push(text)
        if certain:
            self._on_text(certain)


class _TokenCount:
    """A stopping criterion that never stops: it counts the tokens of an answer, also where beams cannot be streamed."""

    def __init__(self, prompt: int, on_token: Callable[[int], None]) -> None:
        self._prompt, self._on_token = prompt, on_token

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        import torch

        self._on_token(int(input_ids.shape[1]) - self._prompt)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
