"""Asks a causal model what it expects after every token of a batch of windows, holding few positions' logits at once.

A vocabulary of 128,000 takes half a megabyte a position; a window is read in columns, with the model's cache between
them, so that LOGITS_BYTES are not exceeded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from wmkml.laboratory.analysis.next_token.sums import WindowScores
from wmkml.laboratory.analysis.next_token.windows import TokenWindow

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGITS_BYTES = 64 * 2**20
"""Bytes of the logits, in float32, of the positions that are looked at together; three to five times that is in use."""


class NotFiniteError(RuntimeError):
    """The model yields numbers that are not finite."""


class Scorer(Protocol):
    """Tells what is expected after the tokens of windows."""

    vocabulary: int

    def score(self, windows: Sequence[TokenWindow]) -> Iterator[WindowScores]:
        """The scores of each window, in order."""
        ...


class ModelScorer:
    """A causal language model of transformers as a `Scorer`."""

    def __init__(self, model: Any, device: torch.device) -> None:
        """
        Args:
            model: on `device`, in evaluation mode.
        """
        self._model, self._device = model, device
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        # Sums in double precision, where the device has it.
        self._exact = torch.float32 if device.type == "mps" else torch.float64

    @torch.inference_mode()
    def score(self, windows: Sequence[TokenWindow]) -> Iterator[WindowScores]:
        """One batch, padded behind: what stands behind a token does not change what is expected after it."""
        longest = max(len(window.inputs) for window in windows)
        ids = torch.zeros((len(windows), longest), dtype=torch.long)
        targets = torch.zeros((len(windows), longest), dtype=torch.long)
        for row, window in enumerate(windows):
            ids[row, : len(window.inputs)] = torch.tensor(window.inputs)
            targets[row, len(window.inputs) - len(window.targets) : len(window.inputs)] = torch.tensor(window.targets)
        parts: list[list[_Columns]] = [[] for _ in windows]
        for first, logits in self._logits(ids):
            for row, window in enumerate(windows):
                begin, end = len(window.inputs) - len(window.targets), len(window.inputs)
                low, high = max(begin, first), min(end, first + logits.shape[1])
                if low < high:
                    columns = logits[row, low - first : high - first]
                    parts[row].append(self._columns(columns, targets[row, low:high].to(self._device)))
        for window, columns_of_row in zip(windows, parts, strict=True):
            yield _joined(len(window.inputs), columns_of_row)

    def _logits(self, ids: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """The first column and the logits, shape (rows, columns, vocabulary), of some columns after the other."""
        rows, length = ids.shape
        step = max(1, LOGITS_BYTES // (4 * self.vocabulary * rows))
        cache: Any = None
        for first in range(0, length, step):
            part = ids[:, first : first + step].to(self._device)
            output = self._model(input_ids=part, past_key_values=cache, use_cache=step < length)
            cache = output.past_key_values if step < length else None
            yield first, output.logits

    def _columns(self, logits: torch.Tensor, targets: torch.Tensor) -> _Columns:
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        if not bool(torch.isfinite(log_probabilities.amax(dim=-1)).all()):
            raise NotFiniteError("The model yields numbers that are not finite.")
        own = _numbers(log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1))
        # A token that cannot come has −∞, which 0 times would be no number; e to the −10,000 is 0 as well.
        log_probabilities.clamp_(min=-1e4)
        probabilities = log_probabilities.exp()
        entropies = _numbers(-log_probabilities.mul_(probabilities).sum(dim=-1, dtype=self._exact))
        return _Columns(own, entropies, _numbers(probabilities.amax(dim=-1)), self._sum_of_ranks(probabilities))

    def _sum_of_ranks(self, probabilities: torch.Tensor) -> NDArray[np.float64]:
        """The sum over rows of each row's probabilities, the largest first."""
        if self._device.type == "cpu":
            # numpy sorts rows twenty times as fast as torch does on a CPU.
            ascending: NDArray[np.float32] = np.sort(probabilities.numpy(), axis=-1)
            return np.asarray(ascending.sum(axis=0, dtype=np.float64)[::-1])
        return _numbers(torch.sort(probabilities, dim=-1, descending=True).values.sum(dim=0, dtype=self._exact))


class _Columns:
    """The scores of some columns of a window; as in `WindowScores`."""

    __slots__ = ("entropies", "log_probabilities", "ranks", "top_1")

    def __init__(self, *values: NDArray[np.float64]) -> None:
        self.log_probabilities, self.entropies, self.top_1, self.ranks = values


def _joined(length: int, parts: Sequence[_Columns]) -> WindowScores:
    def column(name: str) -> NDArray[np.float64]:
        return np.concatenate([getattr(part, name) for part in parts])

    ranks = np.sum([part.ranks for part in parts], axis=0)
    return WindowScores(length, column("log_probabilities"), column("entropies"), column("top_1"), ranks)


def _numbers(values: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
