"""The selves of a run as whoever may not read every word is shown them: entries of the word lists are replaced.

Token ids stay as they are, since the page asks on from them: a place and a fork go on from a text that was replaced as
from any other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from wmkml.decency.word_filter import MAX_SPAN, REPLACEMENT, TokenFilter, WordFilter
from wmkml.owner.autopsy.selves import SelfStep, Selves
from wmkml.protocol.autopsy import AutopsySelves, CandidateToken
from wmkml.protocol.inference import CompletionRequest


class TokenTexts:
    """The texts of the tokens that selves said or nearly said, by id: what a fork goes on from comes as ids alone."""

    def __init__(self) -> None:
        # As large as the model's vocabulary at most: every id comes from the engine.
        self._texts: dict[int, str] = {}

    def remember(self, step: SelfStep) -> None:
        """Take the texts of a step, before anything of it is replaced."""
        # A candidate's text has the space before it, which a word at the beginning of an answer has lost.
        self._texts |= {token.id: token.text for token in step.likeliest}
        self._texts.setdefault(step.id, step.text)

    def of(self, token: int) -> str:
        """A token's text; empty where no self has said it."""
        return self._texts.get(token, "")


class FilteredSelves:
    """See `wmkml.owner.autopsy.selves.Selves`.

    Where one token is asked for, the candidates that would complete an entry are replaced too.  A longer answer comes
    without candidates: looking twenty of them up at each token of each self would hold the owner up for seconds.
    """

    def __init__(self, selves: Selves, words: WordFilter, texts: TokenTexts) -> None:
        self._selves, self._words, self._texts = selves, words, texts
        self.inference, self.visitor_temperature = selves.inference, selves.visitor_temperature

    async def about(self) -> AutopsySelves:
        """The run and its selves."""
        return await self._selves.about()

    async def steps(self, iteration: int, request: CompletionRequest) -> AsyncGenerator[SelfStep]:
        """The steps of a self's answer; those that may belong to an entry come once that is certain."""
        tokens = TokenFilter[SelfStep | None](self._words)
        before = [self._texts.of(token) for token in request.answer_ids or ()]
        for text in before:
            tokens.push(text, None)
        is_look = request.max_tokens == 1
        async with aclosing(self._selves.steps(iteration, request)) as steps:
            async for step in steps:
                self._texts.remember(step)
                likeliest = self._shown_candidates("".join(before)[-MAX_SPAN:], step) if is_look else ()
                step = replace(step, likeliest=likeliest)
                released = tokens.push(step.text, step)
                if step.finish is not None:
                    released += tokens.finish()
                for text, shown in released:
                    if shown is not None:
                        yield replace(shown, text=text)

    def _shown_candidates(self, before: str, step: SelfStep) -> tuple[CandidateToken, ...]:
        # An entry that stands before the place is no candidate's doing.
        already = self._words.apply(before).count(REPLACEMENT)
        return tuple(
            token.model_copy(update={"text": REPLACEMENT})
            if self._words.apply(before + token.text).count(REPLACEMENT) > already
            else token
            for token in step.likeliest
        )
