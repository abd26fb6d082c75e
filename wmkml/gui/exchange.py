"""One exchange as the window shows it: an immutable value; each method returns the exchange after one event."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class DisplayedExchange:
    """A station's prompt and its answer so far.

    Attributes:
        tokens: the answer, as (text, probability) pairs.
        iteration: the iteration that answers; None until the answer starts.
        complete: no more tokens are expected, whether the answer ended or broke off.
    """

    station: str
    prompt: str
    tokens: tuple[tuple[str, float], ...] = ()
    iteration: int | None = None
    complete: bool = False

    def started(self, iteration: int) -> DisplayedExchange:
        """The answer starts, or starts over: no token yet."""
        return replace(self, tokens=(), iteration=iteration, complete=False)

    def with_token(self, text: str, probability: float) -> DisplayedExchange:
        """One more token."""
        return replace(self, tokens=(*self.tokens, (text, probability)))

    def completed(self, text: str, iteration: int) -> DisplayedExchange:
        """The answer is complete: its tokens are cut to `text`.

        Where tokens were missed or repeated, so that they do not begin with `text`, the text becomes one token of
        probability 1.
        """
        if not "".join(token for token, _ in self.tokens).startswith(text):
            return replace(self, tokens=((text, 1.0),), iteration=iteration, complete=True)
        kept, left = [], len(text)
        for token, probability in self.tokens:
            if left <= 0:
                break
            kept.append((token[:left], probability))
            left -= len(token)
        return replace(self, tokens=tuple(kept), iteration=iteration, complete=True)

    def broken_off(self) -> DisplayedExchange:
        """The answer stopped before its end; the tokens received stay."""
        return replace(self, complete=True)
