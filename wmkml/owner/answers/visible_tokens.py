"""The tokens of an answer as a visitor sees them: without the words that are not to be repeated, also among the alternatives."""

from __future__ import annotations

from collections.abc import Iterable

from wmkml.decency.word_filter import MAX_SPAN, TokenFilter, WordFilter
from wmkml.protocol.conversation import ChatToken


class VisibleTokens:
    """Filters the tokens of one answer; it holds back those that may belong to a word that is replaced."""

    def __init__(self, words: WordFilter) -> None:
        self._words, self._filter = words, TokenFilter[ChatToken](words)
        self._end = ""
        """The end of what was shown so far."""

    def push(self, token: ChatToken) -> list[ChatToken]:
        """Add a token; the tokens that may be shown now."""
        return self._shown(self._filter.push(token.text, token))

    def finish(self) -> list[ChatToken]:
        """The tokens that were held back, at the end of the answer."""
        return self._shown(self._filter.finish())

    def _shown(self, released: list[tuple[str, ChatToken]]) -> list[ChatToken]:
        if not self._words:
            return [token for _, token in released]
        return [self._shown_token(text, token) for text, token in released]

    def _shown_token(self, text: str, token: ChatToken) -> ChatToken:
        # In the place of a word that is replaced, what was nearly said is mostly that word again.
        alternatives = (
            [other for other in token.alternatives if not self._words.matches(self._end + other.text)]
            if text == token.text
            else []
        )
        self._end = (self._end + text)[-MAX_SPAN:]
        return token.model_copy(update={"text": text, "alternatives": alternatives})


def visible_tokens(words: WordFilter, tokens: Iterable[ChatToken]) -> list[ChatToken]:
    """All tokens of an answer as a visitor sees them."""
    visible = VisibleTokens(words)
    return [shown for token in tokens for shown in visible.push(token)] + visible.finish()


def visible_answer(words: WordFilter, answer: str, kept: int) -> str:
    """The first `kept` characters of an answer as they are shown; a beginning of its visible tokens' joined texts."""
    return "".join(words.visible(answer)[:kept])
