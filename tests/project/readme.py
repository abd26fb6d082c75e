"""The commands of README.md, by what the word behind ```` ```bash ```` says about how a test runs them.

No word: as it stands, from the project's folder; it must end with status 0.  Others: `cluster` (on ports of the test's
own), `rehearsal`, `hub` (against the stand-in of the hub), `background` (Pd, on a port of the test's own), `tests`
(a dry run), `build` (one step), `worker` (until it asks the owner of another machine).
Each word has one test; `test_readme.py` holds that there is no other.
"""

from __future__ import annotations

import re

from wmkml.config.paths import PROJECT

FENCE = re.compile(r"^```(?P<language>\w*)(?: (?P<word>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"", "cluster", "rehearsal", "hub", "background", "tests", "build", "worker"}


def fences() -> list[tuple[str, str, list[str]]]:
    """Every code block: its language, its word, its commands without their comments."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    return [
        (
            match["language"],
            match["word"] or "",
            [line.partition("  #")[0].strip() for line in match["text"].splitlines()],
        )
        for match in FENCE.finditer(text)
    ]


def commands(word: str) -> list[str]:
    """The commands of every block with this word, in the README's order."""
    return [line for language, kind, lines in fences() if language == "bash" and kind == word for line in lines if line]
