"""The panel's prompts, from the file that ships or from one that the settings name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wmkml.config.yaml_text import parse_yaml

KINDS = ("creative", "factual")
"""The sections of a language: `creative` is a list of prompts; `factual` has for each prompt what a right answer has."""


class PanelFileError(ValueError):
    """The panel's file cannot be used; the text says where and why."""


@dataclass(frozen=True)
class PanelPrompt:
    """One prompt; a right answer has one of `expected` in it (`wmkml.measures.facts`), or nothing is expected."""

    text: str
    expected: tuple[str, ...] = ()


def panel_prompts(file: Path, language: str) -> list[PanelPrompt]:
    """The prompts of a language, in the file's order; none for a language that the file does not have.

    Raises:
        PanelFileError: the file cannot be read, or holds something else.
    """
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PanelFileError(f"{file} cannot be read ({error}); see inference.panel_prompts.") from None
    except yaml.YAMLError as error:
        raise PanelFileError(f"{file} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise PanelFileError(f"{file}: must have a section for each language, as de and en.")
    section = content.get(language) or {}
    if not isinstance(section, dict) or (unknown := [str(name) for name in section if name not in KINDS]):
        named = f"not {', '.join(unknown)}" if isinstance(section, dict) else f"not {type(section).__name__}"
        raise PanelFileError(f"{file}, {language}: must have {' and '.join(KINDS)}, {named}.")
    creative, factual = section.get("creative") or [], section.get("factual") or {}
    if not isinstance(creative, list) or not all(_is_text(prompt) for prompt in creative):
        raise PanelFileError(f"{file}, {language}, creative: must be a list of prompts, none of them empty.")
    if not isinstance(factual, dict) or not all(
        _is_text(prompt) and isinstance(expected, list) and expected and all(_is_text(text) for text in expected)
        for prompt, expected in factual.items()
    ):
        raise PanelFileError(
            f"{file}, {language}, factual: each prompt must have a list of texts, of which a right answer has one, "
            'as "Where does the whale live?": [sea, ocean].'
        )
    return [
        *(PanelPrompt(prompt) for prompt in creative),
        *(PanelPrompt(prompt, tuple(expected)) for prompt, expected in factual.items()),
    ]


def with_persistent(prompts: Sequence[PanelPrompt], persistent: str) -> list[PanelPrompt]:
    """What a run is asked: the panel's prompts, and last the persistent one, whatever is expected of it."""
    return [*(prompt for prompt in prompts if prompt.text != persistent), PanelPrompt(persistent)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
