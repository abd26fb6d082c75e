"""How likely every token of a text was to a model: probability, rank, entropy, and what it would rather have said.

All of it is of the raw logits, before any penalty; with a temperature the same once more, at that temperature.  Entropies are
over the whole vocabulary, in nats; the surprise of a token is −log2 of its probability, in bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wmkml.dialogue.chat_template import training_ids_of
from wmkml.generation.answering import continue_ids
from wmkml.generation.decoding import Decoding
from wmkml.generation.sources import SpeakerError

if TYPE_CHECKING:
    import torch
    from pandas import DataFrame

    from wmkml.generation.speaker import Speaker

CHUNK = 128
"""Positions whose logits are in memory together: 128 rows of 150,000 float32 are 77 MB."""

TokenPart = Literal["template", "prompt", "text", "answer"]
"""Where a token comes from: the template's markup and what stands before the text, the text, or the model's own answer."""


@dataclass(frozen=True)
class LikelyToken:
    """A token that could have stood there.

    Attributes:
        probability_at: at the temperature asked for; None without one.
    """

    id: int
    text: str
    probability: float
    probability_at: float | None = None


@dataclass(frozen=True)
class TokenProbability:
    """One token of a text, seen by one model.

    Attributes:
        position: from 0.
        text: as it stands in the text, with a blank before a word.
        probability: of the softmax of the raw logits; None for the first token, before which nothing stands.
        rank: 1 is the likeliest token; the same at every temperature.
        entropy: of the whole distribution, in nats.
        alternatives: the likeliest tokens there, the likeliest first; the token itself is among them where it belongs.
        probability_at, entropy_at: at the temperature asked for.
    """

    position: int
    id: int
    text: str
    part: TokenPart
    probability: float | None = None
    rank: int | None = None
    entropy: float | None = None
    alternatives: tuple[LikelyToken, ...] = ()
    probability_at: float | None = None
    entropy_at: float | None = None

    @property
    def surprise(self) -> float | None:
        """−log2 of the probability, in bits."""
        return None if self.probability is None else -math.log2(max(self.probability, 1e-45))


@dataclass(frozen=True)
class TextReading:
    """A text as one model reads it.

    Attributes:
        label: of the model.
        tokens: all of them, those of the template too.
        temperature: of the columns `…_at`; None: raw alone.
    """

    label: str
    tokens: tuple[TokenProbability, ...]
    temperature: float | None = None

    @property
    def shown(self) -> tuple[TokenProbability, ...]:
        """The tokens of the text and of the answer, without what stands before them."""
        return tuple(token for token in self.tokens if token.part in ("text", "answer"))

    @property
    def perplexity(self) -> float | None:
        """The exponential of the mean surprise in nats over what is shown, raw."""
        measured = [token.probability for token in self.shown if token.probability is not None]
        if not measured:
            return None
        return math.exp(-sum(math.log(max(value, 1e-45)) for value in measured) / len(measured))

    @property
    def mean_entropy(self) -> float | None:
        """In nats, over what is shown, raw."""
        entropies = [token.entropy for token in self.shown if token.entropy is not None]
        return sum(entropies) / len(entropies) if entropies else None


def read_text(
    speaker: Speaker,
    text: str,
    *,
    prompt: str = "",
    as_prompt: bool = False,
    continued: int = 0,
    decoding: Decoding | None = None,
    temperature: float | None = None,
    alternatives: int = 5,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> TextReading:
    """A text, or the model's own continuation of it, token by token.

    Args:
        prompt: the text is read as the answer to this prompt, in the speaker's template.
        as_prompt: the text is a prompt in the template, and the answer to it is read.
        continued: tokens of its own that the model adds at most.
        decoding: how these are drawn; None: greedily.
        temperature: at which everything is told once more; None: raw alone.
        alternatives: how many.
        on_read: is called with the positions read so far and all of them.

    Raises:
        SpeakerError: it cannot be read, or does not fit the model's window.
    """
    ids, parts = _parts(speaker, text, prompt, as_prompt)
    if len(ids) + continued > speaker.window:
        raise SpeakerError(
            f"The text has {len(ids)} tokens{f' and is to get {continued} more' if continued else ''}; "
            f"{speaker.label} reads {speaker.window}. Shorten it."
        )
    if continued:
        decoding = decoding or Decoding(temperature=0.0)
        (answer, *_) = continue_ids(speaker, ids, decoding, continued)
        ids, parts = [*ids, *answer.ids], [*parts, *["answer" for _ in answer.ids]]
    return read_ids(
        speaker, ids, parts, temperature=temperature, alternatives=alternatives, on_read=on_read
    )  # fmt: skip


def read_ids(
    speaker: Speaker,
    ids: Sequence[int],
    parts: Sequence[str],
    *,
    temperature: float | None = None,
    alternatives: int = 5,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> TextReading:
    """As `read_text`, of these very tokens; `parts` has a TokenPart for each.

    Raises:
        SpeakerError: there is nothing to read, or the temperature cannot be used.
    """
    if temperature is not None and not 0 < temperature <= 100:
        raise SpeakerError(f"--temperature: {temperature:g} is not allowed; allowed: above 0, up to 100.")
    if alternatives < 0:
        raise SpeakerError(f"--alternatives: {alternatives} is not allowed; allowed: at least 0.")
    if not ids:
        raise SpeakerError("There is nothing to read: the text is empty.")
    texts = token_texts(speaker, ids)
    rows: list[TokenProbability] = [TokenProbability(0, ids[0], texts[0], _part(parts[0]))]
    for position, logits in _logits(speaker, ids, on_read):
        rows.append(
            _measured(speaker, position, ids[position], texts[position], _part(parts[position]), logits, temperature,
                      alternatives)
        )  # fmt: skip
    return TextReading(speaker.label, tuple(rows), temperature)


def to_frame(readings: Sequence[TextReading]) -> DataFrame:
    """Readings as a DataFrame, a token a row; the columns at a temperature have it in their names, `probability_at_0.7`."""
    from pandas import DataFrame

    return DataFrame.from_records([record for reading in readings for record in records(reading)])


def records(reading: TextReading) -> Iterator[dict[str, Any]]:
    """A flat record for each token that is shown."""
    suffix = "" if reading.temperature is None else f"_at_{reading.temperature:g}"
    for token in reading.shown:
        record: dict[str, Any] = {
            "model": reading.label,
            "position": token.position,
            "id": token.id,
            "token": token.text,
            "part": token.part,
            "probability": token.probability,
            "rank": token.rank,
            "entropy": token.entropy,
            "surprise_bits": token.surprise,
        }
        if suffix:
            record |= {f"probability{suffix}": token.probability_at, f"entropy{suffix}": token.entropy_at}
        for number, other in enumerate(token.alternatives, 1):
            record |= {f"alternative_{number}": other.text, f"alternative_{number}_probability": other.probability}
            if suffix:
                record[f"alternative_{number}_probability{suffix}"] = other.probability_at
        yield record


def token_texts(speaker: Speaker, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; markup by its name, and a byte that is no whole character as �."""
    tokenizer = speaker.tokenizer
    special = {int(token) for token in tokenizer.all_special_ids}

    def decode(part: Sequence[int]) -> str:
        return str(tokenizer.decode(list(part), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    texts = []
    for index, token in enumerate(ids):
        if token in special:
            texts.append(str(tokenizer.convert_ids_to_tokens(token)))
            continue
        # After two tokens, so that a blank before a word stays and a character's last byte meets its first.
        start = index
        while start > 0 and index - start < 2 and ids[start - 1] not in special:
            start -= 1
        before, whole = decode(ids[start:index]), decode(ids[start : index + 1])
        texts.append(whole[len(before) :] if whole.startswith(before) and len(whole) > len(before) else decode([token]))
    return texts


def _parts(speaker: Speaker, text: str, prompt: str, as_prompt: bool) -> tuple[list[int], list[str]]:
    if (prompt or as_prompt) and speaker.template is None:
        raise SpeakerError(f"{speaker.label} has no template to ask with. Give --template alpaca, or another.")
    if as_prompt:
        ids = list(speaker.prompt_ids([{"role": "user", "content": text}], 1).ids)
        return ids, ["template"] * len(ids)
    if prompt:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
        ids, start = training_ids_of(speaker.tokenizer, messages)
        ids = ids[:-1]
        return ids, ["template"] * start + ["text"] * (len(ids) - start)
    ids = speaker.text_ids(text)
    begins = 1 if ids and ids[0] == speaker.tokenizer.bos_token_id else 0
    return ids, ["template"] * begins + ["text"] * (len(ids) - begins)


def _part(name: str) -> TokenPart:
    if name not in ("template", "prompt", "text", "answer"):
        raise ValueError(f"no part of a text is called {name}")
    return name  # type: ignore[return-value]  # checked above


def _logits(
    speaker: Speaker, ids: Sequence[int], on_read: Callable[[int, int], None]
) -> Iterator[tuple[int, torch.Tensor]]:
    """For every position but the first, the float32 logits that tell it, shape (vocabulary,); read in chunks with a cache."""
    import torch

    total = len(ids) - 1
    inputs = torch.tensor([list(ids[:-1])], device=speaker.device)
    with torch.inference_mode(), speaker.active() as network:
        cache = None
        for start in range(0, total, CHUNK):
            out = network(input_ids=inputs[:, start : start + CHUNK], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            for offset, logits in enumerate(out.logits[0].float().cpu()):
                yield start + offset + 1, logits
            on_read(min(start + CHUNK, total), total)


def _measured(
    speaker: Speaker,
    position: int,
    token: int,
    text: str,
    part: TokenPart,
    logits: torch.Tensor,
    temperature: float | None,
    count: int,
) -> TokenProbability:
    import torch

    logprobs = torch.log_softmax(logits, dim=-1)
    tempered = None if temperature is None else torch.log_softmax(logits / temperature, dim=-1)
    top = torch.topk(logprobs, min(count, logprobs.shape[-1]))
    others = []
    for value, index in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        at = None if tempered is None else math.exp(float(tempered[index]))
        others.append(LikelyToken(index, alternative_text(speaker, index), math.exp(value), at))
    return TokenProbability(
        position=position,
        id=token,
        text=text,
        part=part,
        probability=math.exp(float(logprobs[token])),
        rank=int((logprobs > logprobs[token]).sum()) + 1,
        entropy=_entropy(logprobs),
        alternatives=tuple(others),
        probability_at=None if tempered is None else math.exp(float(tempered[token])),
        entropy_at=None if tempered is None else _entropy(tempered),
    )


def alternative_text(speaker: Speaker, token: int) -> str:
    """A token's text as it would stand behind a word."""
    before = speaker.tokenizer.encode("a", add_special_tokens=False)
    return token_texts(speaker, [*before, token])[-1]


def _entropy(logprobs: torch.Tensor) -> float:
    """In nats; a logit of −∞ adds nothing."""
    import torch

    return float(-torch.nansum(logprobs.exp() * logprobs.clamp_min(-1e9)))
