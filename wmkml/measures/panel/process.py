"""Measures panels in a process of its own, at the lowest priority: nltk, numpy and dictionaries stay out of the owner.

    python -m wmkml.measures.panel.process

It reads a line of JSON (`PanelJob`) and writes one (the measures by name), again and again, until its input ends: with the
owner, however that ends.  What was answered goes through the pipe alone, and is never written down.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from wmkml.measures.panel.measuring import PromptAnswers, measure_panel, measure_words

LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class PanelJob:
    """What is to be measured; as the arguments of `measure_panel`, or with `of_words` of `measure_words`."""

    prompts: Sequence[PromptAnswers]
    language: str
    words: int
    wanted: int
    of_words: bool = False

    def to_line(self) -> bytes:
        """As a line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: str) -> PanelJob:
        """From such a line."""
        job = json.loads(line)
        prompts = [PromptAnswers(tuple(prompt["answers"]), tuple(prompt["expected"])) for prompt in job.pop("prompts")]
        return cls(prompts, **job)


def main() -> None:
    """Measure what comes in until nothing does any more."""
    os.nice(LOWEST_PRIORITY)
    for line in sys.stdin:
        job = PanelJob.from_line(line)
        if job.of_words:
            values = measure_words(job.prompts, job.language, job.words)
        else:
            values = measure_panel(job.prompts, job.language, job.words, job.wanted)
        del job, line  # what was answered is not kept for the next one
        print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
