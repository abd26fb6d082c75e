"""Which build of torch and vLLM the machine's NVIDIA driver can run: decided before gigabytes are downloaded.

Standard library only.  `choose_build()` is a pure decision; what `nvidia-smi` says is read by `wmkml.system.gpus`.

Sources: NVIDIA's CUDA Compatibility guide for the drivers (CUDA 13.x needs 580; CUDA 12.x runs from 525 on, but what is
delivered as PTX is compiled by the driver, which needs the toolkit's own: 575 for 12.9), its page on forward compatibility
for the cards, vLLM 0.32.0's release pipeline for the compute capabilities.  The flash attention in vLLM's wheels is machine
code for 8.x and PTX for anything newer (`cuobjdump` on the wheel of 0.19.1; vLLM issue 31700 is an H100 that fails for it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wmkml.system.gpus import Gpu, Version, parse_version

CUDA13_DRIVER = (580, 0)
"""The oldest driver for CUDA 13."""

CUDA12_DRIVER = (525, 0)
"""The oldest driver for CUDA 12."""

CUDA129_PTX_DRIVER = (575, 0)
"""The oldest driver that compiles the PTX of CUDA 12.9."""

OLDEST_CAPABILITY = (7, 5)
"""The oldest compute capability in vLLM's wheels: Turing."""

PTX_CAPABILITY = (9, 0)
"""From this compute capability on, vLLM's wheels hold some kernels as PTX alone: Hopper."""

COMPATIBILITY_PACKAGE = "cuda-compat-12-9"
"""CUDA 12.9's part of the driver, for data-centre cards with an older one; in NVIDIA's package repository."""

COMPATIBILITY_FOLDER = Path("/usr/local/cuda-12.9/compat")
"""Where the package puts its libraries."""

DATA_CENTRE = re.compile(
    r"\b(A2|A10G?|A16|A30X?|A40|A100X?|A800|B100|B200|B300|GB200|GB300|H20|H100|H200|H800|GH200|L2|L4|L20|L40S?|T4G?|V100S?|P100|P40|P4"
    r"|K80|M60|Tesla)\b"
)
"""Names of data-centre cards: what forward compatibility is for."""


class CannotServeError(RuntimeError):
    """No build of torch and vLLM runs with this driver or on this card.  The text says why, and what to do."""


@dataclass(frozen=True)
class Card:
    """An NVIDIA card as `nvidia-smi` describes it; `driver` and `capability` as (major, minor), None if it does not say."""

    name: str
    driver: Version | None
    capability: Version | None

    @property
    def data_centre(self) -> bool:
        """Whether NVIDIA sells it for data centres."""
        return DATA_CENTRE.search(self.name) is not None


@dataclass(frozen=True)
class Build:
    """The chosen flavour of the environment and why; whether the forward-compatibility package is needed with it."""

    flavour: Literal["cuda", "cuda12"]
    reason: str
    compatibility: bool = False


def choose_build(cards: tuple[Card, ...]) -> Build:
    """The newest build that runs on all of these cards.

    Raises:
        CannotServeError: none does.
    """
    for card in cards:
        if card.capability and card.capability < OLDEST_CAPABILITY:
            raise CannotServeError(
                f"{card.name} has compute capability {_dotted(card.capability)}, and vLLM's packages begin at "
                f"{_dotted(OLDEST_CAPABILITY)} (Turing, 2018). Use a newer card; CUDA_VISIBLE_DEVICES=1,2 names the cards to use, "
                "and with CUDA_VISIBLE_DEVICES= everything runs on the CPU."
            )
    # A machine has one driver for all its cards.
    driver = next((card.driver for card in cards if card.driver), None)
    if driver is None:
        return Build(
            "cuda", "nvidia-smi does not tell the driver's version; torch and vLLM for CUDA 13, which need driver 580"
        )
    if driver >= CUDA13_DRIVER:
        return Build("cuda", f"driver {driver[0]} runs CUDA 13: torch and vLLM as they are on PyPI")
    if driver < CUDA12_DRIVER:
        raise CannotServeError(
            f"The NVIDIA driver is {_dotted(driver)}; torch and vLLM need {CUDA12_DRIVER[0]} or newer, and 580 is best. On a rented "
            "machine choose one with a newer driver (or CUDA 12.9 or newer); on your own: sudo apt-get install nvidia-driver-580, "
            "and restart it. With CUDA_VISIBLE_DEVICES= everything runs on the CPU."
        )
    reason = f"driver {driver[0]} is older than 580, which CUDA 13 needs: the same torch and vLLM, built for CUDA 12.9"
    by_ptx = [card for card in cards if card.capability is None or card.capability >= PTX_CAPABILITY]
    if driver >= CUDA129_PTX_DRIVER or not by_ptx:
        return Build("cuda12", reason)
    needs = f"on {by_ptx[0].name} some kernels are compiled by the driver, which can do that for CUDA 12.9 from 575 on"
    consumer = [card.name for card in cards if not card.data_centre]
    if consumer:
        raise CannotServeError(
            f"The NVIDIA driver is {_dotted(driver)}; {needs}. The package that stands in for a newer driver is for data-centre "
            f"cards only, and {consumer[0]} is none. Install driver 580, or rent a machine that has it (or CUDA 12.9 or newer)."
        )
    return Build(
        "cuda12", f"{reason}; {needs}: {COMPATIBILITY_PACKAGE} stands in for that (data-centre cards only)", True
    )


def card_of(gpu: Gpu) -> Card:
    """What of a GPU decides the build."""
    return Card(gpu.name, gpu.driver, gpu.capability)


def parse_cards(answer: str) -> tuple[Card, ...]:
    """Parse lines `driver, compute capability, name`; the capability may be missing."""
    cards = []
    for line in answer.splitlines():
        driver, *others = [part.strip() for part in line.split(",")]
        if not others:
            continue
        capability = parse_version(others[0]) if len(others) > 1 else None
        cards.append(Card(others[-1] if len(others) == 1 else ", ".join(others[1:]), parse_version(driver), capability))
    return tuple(cards)


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
