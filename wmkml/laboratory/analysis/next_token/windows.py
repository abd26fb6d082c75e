"""Cuts a document's tokens into windows so that every token is predicted once: lm-evaluation-harness's rolling windows.

The first token is predicted from a prefix token (BOS, or EOS where there is none).  With a stride as long as the window
the predicted parts are disjoint and a window sees nothing of the one before but its last token; the last window is moved
back so that it is full, as `loglikelihood_rolling` does it.  A shorter stride leaves every token more context.

Source: EleutherAI, lm-evaluation-harness, `get_rolling_token_windows` and `make_disjoint_window`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TokenWindow:
    """What the model reads at once, and what of it is predicted.

    Attributes:
        inputs: token ids, at most as many as the window has.
        targets: the ids that follow the last `len(targets)` inputs, each of which predicts one.
    """

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


def rolling_windows(tokens: Sequence[int], prefix: int, window: int, stride: int) -> Iterator[TokenWindow]:
    """The windows of a document.

    Args:
        window: most inputs, at least 1.
        stride: tokens predicted per window behind the first one, 1 to `window`.
    """
    if not 1 <= stride <= window:
        raise ValueError(f"stride {stride} is not between 1 and the window {window}")
    done = min(window, len(tokens))
    if done:
        yield TokenWindow((prefix, *tokens[: done - 1]), tuple(tokens[:done]))
    while done < len(tokens):
        scored = min(len(tokens) - done, stride)
        end = done + scored
        yield TokenWindow(tuple(tokens[max(0, end - window - 1) : end - 1]), tuple(tokens[done:end]))
        done = end
