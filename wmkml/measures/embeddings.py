"""How many different answers there are by their meaning: sentence embeddings of a small model that a wheel brings along.

The extra `embeddings` installs wordllama, of which its two files are read: the vectors of 32,000 tokens, and their
tokenizer.  An answer's vector is the mean of its tokens'.  It was made for English: other languages are not measured.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.measures.diversity import hill_number, vendi_score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "wordllama"
WEIGHTS, TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"

NEEDS_EMBEDDINGS = "the extra `embeddings` is not installed: pip install 'wmkml[embeddings]'"
ONLY_ENGLISH = "the embeddings know English alone, or nothing was said"

LANGUAGES = ("en",)
"""The languages whose meanings the model knows."""


def embeddings_installed() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def why_not_measured(language: str) -> str:
    """Why the meaning of answers in this language cannot be measured; empty where it can."""
    if language not in LANGUAGES:
        named = "answers of an unnamed language" if language == "" else f"answers in {language}"
        return f"{named}: the embeddings know {', '.join(LANGUAGES)} alone"
    return "" if embeddings_installed() else NEEDS_EMBEDDINGS


def vendi_embeddings(texts: Sequence[str]) -> float | None:
    """The Vendi score by the cosine of the answers' embeddings; None without any answer."""
    return vendi_score(embedding_similarity(texts)) if texts else None


def hill_0_embeddings(texts: Sequence[str]) -> float | None:
    """`hill_number` of order 0 by the cosine of embeddings, none below 0."""
    return _hill(texts, 0.0)


def hill_1_embeddings(texts: Sequence[str]) -> float | None:
    """`hill_number` of order 1 by the cosine of embeddings, none below 0."""
    return _hill(texts, 1.0)


def hill_2_embeddings(texts: Sequence[str]) -> float | None:
    """`hill_number` of order 2 by the cosine of embeddings, none below 0."""
    return _hill(texts, 2.0)


def hill_inf_embeddings(texts: Sequence[str]) -> float | None:
    """`hill_number` of infinite order by the cosine of embeddings, none below 0."""
    return _hill(texts, math.inf)


def embedding_similarity(texts: Sequence[str]) -> NDArray[np.float64]:
    """The cosine of every two answers' embeddings, answers × answers; the diagonal is 1, an answer without a token has 0."""
    import numpy as np

    vectors = np.stack([_vector(text) for text in texts])
    matrix = vectors @ vectors.T
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix, dtype=np.float64)


def meaning_spread(texts: Sequence[str]) -> float | None:
    """The mean cosine distance (0 to 2, in practice to 1) of the answers' embeddings over all pairs; None below two.

    So Guo et al. 2024, "The Curious Decline of Linguistic Diversity", take semantic diversity, with another model.
    """
    spoken = [text for text in texts if text.strip()]
    if len(spoken) < 2:
        return None
    similarity = embedding_similarity(spoken)
    count = len(spoken)
    return 1.0 - float((similarity.sum() - similarity.trace()) / (count * (count - 1)))


def _hill(texts: Sequence[str], order: float) -> float | None:
    return hill_number(embedding_similarity(texts).clip(min=0.0), order) if texts else None


@functools.lru_cache(maxsize=4096)
def _vector(text: str) -> NDArray[np.float64]:
    """Of length 1; zeros for a text without a token."""
    import numpy as np

    table, tokenizer = _model()
    ids = [number for number in tokenizer.encode(text, add_special_tokens=False).ids if number < len(table)]
    if not ids:
        return np.zeros(table.shape[1])
    vector = table[ids].mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length else vector)


@functools.cache
def _model() -> tuple[Any, Any]:
    """The tokens' vectors, and the tokenizer.

    The package itself is not imported: it would look for its tokenizer in the wrong folder (0.4.0), and then on the hub.
    """
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(why_not_measured(LANGUAGES[0]))
    folder = Path(spec.submodule_search_locations[0])
    return load_file(folder / WEIGHTS)["embedding.weight"], Tokenizer.from_file(str(folder / TOKENIZER))
