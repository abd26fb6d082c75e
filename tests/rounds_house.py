"""Houses for the tests of rounds, with three sets of prompts; and what is to be found of a round and its run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.owner_house import House, until

MakeHouse = Callable[..., House]


@contextmanager
def houses(folder: Path) -> Iterator[MakeHouse]:
    """What makes and starts a house with these settings, as often as it is called; all are ended at the end."""
    made: list[House] = []

    def make(**overrides: Any) -> House:
        for name in ("eins", "zwei", "drei"):
            prompts = folder / "sets" / name
            prompts.mkdir(parents=True, exist_ok=True)
            rows = "".join(f"{name} {number}?\n" for number in range(30))
            (prompts / "prompts.csv").write_text(rows, encoding="utf-8")
        house = House(folder, **{"general.datasets_folder": str(folder / "sets")} | overrides)
        made.append(house)
        return house.start()

    try:
        yield make
    finally:
        for house in made:
            house.stop()


def round_of(house: House, iteration: int) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def look() -> bool:
        found.clear()
        found.update(next((one for one in house.state()["rounds"] if one["iteration"] == iteration), {}))
        return bool(found)

    until(look, f"round {iteration}")
    return found


def previous_sha(job: dict[str, Any]) -> str:
    return hashlib.sha256((Path(job["folder"]) / "adapter_model.safetensors").read_bytes()).hexdigest()


def run_folder(house: House) -> Path:
    return house.places.runs / str(house.state()["run"])
