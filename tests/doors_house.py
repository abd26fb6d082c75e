"""A house for the tests of the owner's doors, with settings that can be told from the ordinary ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.owner_house import House


@contextmanager
def doors_house(folder: Path) -> Iterator[House]:
    """A started house; ended at the end."""
    house = House(
        folder,
        **{
            "inference.temperature": 0.31,
            "inference.top_p": 0.81,
            "inference.visitor_temperature": 0.61,
            "inference.visitor_top_p": 0.86,
            "inference.max_tokens": 77,
            "inference.frequency_penalty": 0.5,
            "inference.num_context_messages": 3,
            "general.max_prompt_bytes": 20_000,
        },
    )
    try:
        yield house.start()
    finally:
        house.stop()
