"""A visitor's prompt and its answer on the way to the event stream, without the words that are not to be repeated."""

from __future__ import annotations

from dataclasses import replace

from wmkml.decency.word_filter import TokenFilter, WordFilter
from wmkml.dialogue.answer_end import kept_length
from wmkml.owner.answers.visible_tokens import visible_answer
from wmkml.owner.events.event_publisher import EventPublisher
from wmkml.owner.inference.client import AnswerToken


class PublishedAnswer:
    """Publishes one prompt and its answer; of one that is its visitor's alone, nothing but that somebody spoke."""

    def __init__(
        self, publisher: EventPublisher, words: WordFilter, station: str, prompt: str, *, is_private: bool
    ) -> None:
        """`words`: what the event stream does not carry."""
        self._publisher, self._words, self._is_private = publisher, words, is_private
        self._station, self._prompt = station, prompt
        self._iteration = -1
        self._tokens = TokenFilter[AnswerToken](words)

    def prompt(self) -> None:
        """The visitor has sent the prompt."""
        if self._is_private:
            self._publisher.visitor_active()
        else:
            self._publisher.prompt(self._station, self._words.apply(self._prompt), self._prompt)

    def answer_begins(self, iteration: int, restarted: bool) -> None:
        """An answer begins; `restarted`: again, and what was held back of it before is dropped."""
        self._iteration, self._tokens = iteration, TokenFilter(self._words)
        if not self._is_private:
            self._publisher.answer_begins(self._station, iteration, restarted)

    def token(self, token: AnswerToken) -> None:
        """One token of the answer."""
        self._publish(self._tokens.push(token.text, token))

    def finish(self) -> None:
        """All tokens have come."""
        self._publish(self._tokens.finish())

    def response(self, answer: str) -> None:
        """The whole answer is stored."""
        kept = kept_length(answer)
        if not self._is_private:
            shown = visible_answer(self._words, answer, kept)
            self._publisher.response(self._station, shown, self._iteration, answer[:kept])

    def _publish(self, released: list[tuple[str, AnswerToken]]) -> None:
        if not self._is_private:
            for text, token in released:
                self._publisher.token(self._station, replace(token, text=text), self._iteration)
