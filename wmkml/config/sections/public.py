"""The sections `decency` and `privacy` of config.yaml: what a house that lets the public in has to say."""

from __future__ import annotations

from wmkml.config.sections.declaring import Section, added


class Decency(Section):
    """What is not repeated to a room: entries of the word lists (docs/decency.md), replaced by "…". All of it is off by default."""

    visitor: bool = added(False, "true: in the answers that a visitor reads.")
    stage: bool = added(False, "true: in what the stage shows and OSC carries, prompts too.")
    card: bool = added(False, "true: on the take-home card.")
    training: bool = added(False, "true: no round trains on a pair with such a word in its prompt or answer.")
    help_line: dict[str, str] = added(
        {},
        "A line of help for a visitor who writes of harming themselves; it is shown on their own page alone, and their pair is "
        "neither trained on nor shown. Empty: none. See docs/decency.md.",
    )


class Privacy(Section):
    """The pages `/privacy` and `/imprint`: texts, or one for each language (docs/decency.md). Without them there are none."""

    controller: str | dict[str, str] = added(
        "", "Who is responsible: name and address. Empty: no page on privacy, and no link to it."
    )
    contact: str | dict[str, str] = added("", "How the controller, or its data protection officer, is reached.")
    purpose: str | dict[str, str] = added("", "What the words are processed for.")
    legal_basis: str | dict[str, str] = added("", "By what right, as `Art. 6 (1) a GDPR: consent`.")
    hosting: str | dict[str, str] = added("", "Where the machine is, and whose it is.")
    imprint: str | dict[str, str] = added("", "The imprint. Empty: no such page.")
