"""What can be done to the ids of a line: each a function of ids and a source of chance, which gives ids of a vocabulary.

A transformation is written `shift:7`: its name, and behind a colon how far, how often, or through which vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wmkml.laboratory.poetry.poems import PoetryError
from wmkml.laboratory.poetry.vocabularies import INCOMPLETE, Vocabulary

NEIGHBOURS = 8
"""Nearest tokens in embedding space among which a walk takes its step."""

MOST_STEPS = 1000


@dataclass(frozen=True)
class Transformation:
    """A change of ids.

    Attributes:
        label: as it was written.
        apply: from the ids of a line, and chance, to ids of the same vocabulary.
    """

    label: str
    apply: Callable[[Sequence[int], random.Random], list[int]]


def shift(vocabulary: Vocabulary, by: int) -> Transformation:
    """Each token becomes the one `by` places further in the vocabulary, round and round."""
    return Transformation(
        f"shift:{by}", lambda ids, chance: [vocabulary.id_at(vocabulary.places[token] + by) for token in ids]
    )


def reverse() -> Transformation:
    """The last token first."""
    return Transformation("reverse", lambda ids, chance: list(reversed(ids)))


def sort() -> Transformation:
    """By id: in most vocabularies the commonest tokens come first."""
    return Transformation("sort", lambda ids, chance: sorted(ids))


def swap(times: int) -> Transformation:
    """Two tokens, drawn by chance, change places, so many times; 0: every token with its neighbour."""

    def apply(ids: Sequence[int], chance: random.Random) -> list[int]:
        swapped = list(ids)
        if not times:
            for left in range(0, len(swapped) - 1, 2):
                swapped[left], swapped[left + 1] = swapped[left + 1], swapped[left]
        elif len(swapped) > 1:
            for _ in range(times):
                left, right = chance.sample(range(len(swapped)), 2)
                swapped[left], swapped[right] = swapped[right], swapped[left]
        return swapped

    return Transformation(f"swap:{times}" if times else "swap", apply)


def through(vocabulary: Vocabulary, other: Vocabulary) -> Transformation:
    """Each token is looked up in another vocabulary, by what it prints, and its place there is read as one here.

    A token that the other does not have is written with several of its tokens, and becomes as many.
    """

    def apply(ids: Sequence[int], chance: random.Random) -> list[int]:
        return [
            vocabulary.id_at(other.places[other_id])
            for token in ids
            for other_id in written_as(vocabulary, token, other)
        ]

    return Transformation(f"map:{other.name}", apply)


def walk(vocabulary: Vocabulary, steps: int) -> Transformation:
    """Each token goes so many steps in embedding space, each to one of its nearest neighbours, drawn by chance.

    Raises:
        PoetryError: the vocabulary belongs to no model that is loaded.
    """
    embeddings = vocabulary.embeddings
    if embeddings is None:
        raise PoetryError(
            f"walk: {vocabulary.name} has no embeddings; a walk needs the tokenizer of the model that is asked (--model)."
        )
    import torch

    ordinary = torch.tensor(vocabulary.ordinary)
    directions = torch.nn.functional.normalize(embeddings.detach().float().cpu()[ordinary], dim=-1)

    def apply(ids: Sequence[int], chance: random.Random) -> list[int]:
        walked = []
        for token in ids:
            place = vocabulary.places[token]
            for _ in range(steps):
                likeness = directions @ directions[place]
                likeness[place] = -2.0  # a step leads away
                nearest = torch.topk(likeness, min(NEIGHBOURS, len(vocabulary) - 1)).indices.tolist()
                place = chance.choice(nearest)
            walked.append(vocabulary.ordinary[place])
        return walked

    return Transformation(f"walk:{steps}", apply)


def written_as(vocabulary: Vocabulary, token: int, other: Vocabulary) -> list[int]:
    """The ids with which another vocabulary writes what a token prints; what cannot be written becomes the token at its place."""
    key = vocabulary.key(token)
    if key in other.by_key:
        return [other.by_key[key]]
    if INCOMPLETE not in vocabulary.token_text(token):
        ids = other.ids(vocabulary.token_text(token))
    else:
        # Byte-level tokenizers name a token by a letter for each byte, and have a token for each of these.
        ids = [other.by_name[letter] for letter in vocabulary.name_of(token) if letter in other.by_name]
    return ids or [other.id_at(vocabulary.places[token])]


def parse_transformation(text: str, vocabulary: Vocabulary, others: Mapping[str, Vocabulary]) -> Transformation:
    """The transformation that is written so.

    Args:
        others: vocabularies by the name that `map:` names them with.

    Raises:
        PoetryError: there is none of that name, or it cannot be done.
    """
    name, _, value = text.partition(":")
    if name in ("reverse", "sort") and not value:
        return reverse() if name == "reverse" else sort()
    if name == "shift":
        return shift(vocabulary, _whole(text, value or "1", -(10**9), 10**9))
    if name == "swap":
        return swap(_whole(text, value or "0", 0, MOST_STEPS))
    if name == "walk":
        return walk(vocabulary, _whole(text, value or "1", 1, MOST_STEPS))
    if name == "map" and value in others:
        return through(vocabulary, others[value])
    if name == "map":
        raise PoetryError(
            f"map:{value}: there is no vocabulary {value or 'without a name'}; there are: {', '.join(others)}."
        )
    raise PoetryError(
        f"--transform: {text} is not known; there are shift:N, reverse, sort, swap, swap:N, map:VOCABULARY and walk:N."
    )


def _whole(text: str, value: str, least: int, most: int) -> int:
    try:
        number = int(value)
    except ValueError:
        raise PoetryError(f"--transform: {text}: {value} is no whole number.") from None
    if not least <= number <= most:
        raise PoetryError(f"--transform: {text}: {number} is not allowed; allowed: {least} to {most}.")
    return number
