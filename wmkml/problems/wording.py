"""A text in both languages of the people who look after the installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class BothLanguages:
    """A text in German and English, with the same `{placeholders}`."""

    de: str
    en: str

    def filled(self, values: Mapping[str, str]) -> BothLanguages:
        """The text with its placeholders filled in."""
        return BothLanguages(self.de.format(**values), self.en.format(**values))
