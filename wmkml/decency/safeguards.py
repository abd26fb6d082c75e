"""What the settings and the word lists say is not to be repeated: a filter for each place where words are shown or learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wmkml.config import Settings
from wmkml.decency.help_line import HelpPhrases, load_help_phrases
from wmkml.decency.word_filter import WordFilter
from wmkml.decency.word_lists import load_word_filter


def _nothing() -> WordFilter:
    return WordFilter(())


@dataclass(frozen=True)
class Safeguards:
    """The filters of one installation; a filter that is switched off has no entries, and changes nothing.

    Attributes:
        visitor: of the answers that a visitor reads.
        stage: of prompts and answers on the stage and in OSC.
        card: of the take-home card.
        training: whose entries no round trains on.
        help_lines: a line of help by language; none: nobody is offered one.
        help_phrases: what it answers.
    """

    visitor: WordFilter = field(default_factory=_nothing)
    stage: WordFilter = field(default_factory=_nothing)
    card: WordFilter = field(default_factory=_nothing)
    training: WordFilter = field(default_factory=_nothing)
    help_lines: Mapping[str, str] = field(default_factory=dict)
    help_phrases: HelpPhrases = field(default_factory=lambda: HelpPhrases((), ()))

    @property
    def events(self) -> WordFilter:
        """Of the event stream, which the stage hears and the visitor's own page too."""
        return self.stage or self.visitor

    def help_line(self, prompt: str, language: str) -> str:
        """The line of help for a visitor who writes this; empty where none is offered.

        A pair with one is its visitor's alone: it is neither trained on nor shown to anybody else.
        """
        if not self.help_lines or not self.help_phrases.recognised(prompt):
            return ""
        return self.help_lines.get(language) or next(iter(self.help_lines.values()))

    def is_private(self, prompt: str) -> bool:
        """Whether a pair with this prompt is its visitor's alone."""
        return bool(self.help_line(prompt, ""))

    def may_train(self, prompt: str, answer: str) -> bool:
        """Whether a round may train on a pair."""
        matches = self.training.matches
        return not self.is_private(prompt) and not matches(prompt) and not matches(answer)


def load_safeguards(settings: Settings, words: Path) -> Safeguards:
    """The filters that the settings switch on; without any, no list is read.

    Args:
        words: the installation's own word lists (`Paths.words`); the folder may not exist.

    Raises:
        WordListError: a list cannot be used.
    """
    decency = settings.decency
    off = _nothing()
    on = load_word_filter(words) if decency.visitor or decency.stage or decency.card or decency.training else off
    return Safeguards(
        visitor=on if decency.visitor else off,
        stage=on if decency.stage else off,
        card=on if decency.card else off,
        training=on if decency.training else off,
        help_lines={language: line for language, line in decency.help_line.items() if line.strip()},
        help_phrases=load_help_phrases(words) if decency.help_line else HelpPhrases((), ()),
    )
