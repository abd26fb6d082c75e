"""An exchange that is shown, as it grows: whose, the prompt, the tokens with their probabilities.  Pure; knows no widget."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Exchange:
    """One station's prompt and its answer; `iteration` is which one answers, known when it begins to."""

    station: str
    prompt: str
    tokens: tuple[tuple[str, float], ...] = ()
    iteration: int | None = None
    complete: bool = False

    def begun(self, iteration: int) -> Exchange:
        """At its beginning: no token yet."""
        return replace(self, tokens=(), iteration=iteration, complete=False)

    def grown(self, text: str, probability: float) -> Exchange:
        """With one more token."""
        return replace(self, tokens=(*self.tokens, (text, probability)))

    def ended(self, text: str, iteration: int) -> Exchange:
        """Complete: of the tokens what `text` keeps; `text` itself, as if sure, where tokens were missed or repeated."""
        if not "".join(token for token, _ in self.tokens).startswith(text):
            return replace(self, tokens=((text, 1.0),), iteration=iteration, complete=True)
        kept, left = [], len(text)
        for token, probability in self.tokens:
            if left <= 0:
                break
            kept.append((token[:left], probability))
            left -= len(token)
        return replace(self, tokens=tuple(kept), iteration=iteration, complete=True)

    def broken(self) -> Exchange:
        """Over, though nobody said how it ends."""
        return replace(self, complete=True)
