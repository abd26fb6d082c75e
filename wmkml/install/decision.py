"""What is installed on this machine, and what must be there first: decided before anything is downloaded.

`decide()` chooses the flavour by GPUs and driver; `prepare()` sees to a C compiler, Python's headers and free space, and
`preparations()` tells the same without doing it.  The environment may be kept where the rest of the machine is not, as on a
volume beside a fresh container: so tools and GPUs are looked at before every start.  Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmkml.install import free_space, steps, toolchain
from wmkml.install.driver import COMPATIBILITY_FOLDER, Card, card_of, choose_build
from wmkml.system.gpus import detected_gpus, select_visible


@dataclass(frozen=True)
class Decision:
    """What to install and why.

    `gpus`: how many GPUs torch must find afterwards; None: not to be asked, since no GPU was detected.
    `compatibility`: whether CUDA's forward-compatibility package is needed.
    `driver`: the version of the GPUs' driver, as `580.65`; None where it is not known.
    """

    flavour: steps.Flavour
    reason: str
    gpus: int | None = None
    compatibility: bool = False
    driver: str | None = None

    @property
    def library_path(self) -> Path | None:
        """The folder whose libraries are loaded in place of the driver's; None: the driver's own."""
        return COMPATIBILITY_FOLDER if self.compatibility else None

    def is_installed(self, stamp: Mapping[str, Any], digest: str) -> bool:
        """Whether a finished installation with this stamp is what is decided; `digest` as `steps.digest()` makes it."""
        if stamp["digest"] != digest:
            return False
        # While no GPU is detected, nothing is loaded from there.
        return not self.compatibility or self.gpus is None or _is_folder(stamp.get("library_path"))

    def machine(self) -> dict[str, Any]:
        """What the GPUs were checked on, for the stamp: with another driver or another number they are checked again."""
        path = {} if self.library_path is None else {"library_path": str(self.library_path)}
        return {"gpus": self.gpus, "driver": self.driver, **path}

    def was_checked(self, stamp: Mapping[str, Any]) -> bool:
        """Whether torch has computed on these GPUs; also where there are none now."""
        machine = self.machine()
        checked = {key: stamp[key] for key in ("gpus", "driver", "library_path") if key in stamp}
        return self.gpus is None or checked == machine


def _is_folder(path: object) -> bool:
    return isinstance(path, str) and Path(path).is_dir()


def usable_cards(environment: Mapping[str, str]) -> tuple[Card, ...]:
    """The cards of this machine that CUDA_VISIBLE_DEVICES leaves; with all of them hidden, everything runs on the CPU."""
    return tuple(card_of(gpu) for gpu in select_visible(detected_gpus(), environment.get("CUDA_VISIBLE_DEVICES")))


def decide(platform: str, cards: tuple[Card, ...], stamp: Mapping[str, Any] | None = None) -> Decision:
    """Choose the flavour.

    Args:
        platform: as `sys.platform` names it.
        stamp: of the environment that is there; None if there is none.

    Raises:
        CannotServeError: there are GPUs, and no build of torch and vLLM runs on them.
    """
    installed = stamp["flavour"] if stamp else None
    if platform != "linux" or not cards:
        for flavour in steps.FOR_GPUS:
            if installed == flavour:
                return Decision(
                    flavour,
                    "no GPU is detected now; the environment for GPUs stays",
                    None,
                    "library_path" in (stamp or {}),
                )
        flavour = steps.choose_flavour(platform, 0)
        return Decision(
            flavour, "no NVIDIA GPU" if platform == "linux" else "vLLM is for Linux; the transformers engine answers"
        )
    build = choose_build(cards)
    version = next((card.driver for card in cards if card.driver), None)
    driver = None if version is None else f"{version[0]}.{version[1]}"
    count = f"{len(cards)} GPU{'s' if len(cards) > 1 else ''} ({cards[0].name})"
    if installed == "cuda12" and build.flavour == "cuda":
        reason = f"{count}; torch and vLLM for CUDA 12.9 are there, and run with newer drivers too"
        return Decision("cuda12", reason, len(cards), driver=driver)
    return Decision(build.flavour, f"{count}; {build.reason}", len(cards), build.compatibility, driver)


def prepare(decision: Decision, env: Path, report: Callable[[str], None], *, anew: bool) -> None:
    """See to what must be there before the packages.

    Args:
        anew: whether `env` is made anew, beside the one that is there.

    Raises:
        ToolMissingError, NoSpaceError: something is missing, and cannot be brought.
    """
    bring_tools(decision, report)
    free_space.check(decision.flavour, env, held_gib=0.0 if anew else free_space.size_gib(env))


def bring_tools(decision: Decision, report: Callable[[str], None]) -> None:
    """See to what Triton compiles with, and to the driver's stand-in.

    Raises:
        ToolMissingError: something is missing, and cannot be brought.
    """
    missing = _missing_tools(decision)
    if missing:
        report(f"Before the packages: {'; '.join(missing.values())}.")
        if toolchain.can_install():
            report(f"Installing {', '.join(missing)} with apt-get.")
        toolchain.install_packages(missing)


def preparations(decision: Decision, env: Path) -> list[str]:
    """What `prepare()` would find on this machine, in lines for the operator."""
    lines = []
    if decision.flavour in steps.FOR_GPUS:
        missing = _missing_tools(decision)
        for package, sentence in missing.items():
            how = "apt-get installs" if toolchain.can_install() else "to be installed before:"
            lines.append(f"tools: {sentence}; {how} {package}")
        if not missing:
            lines.append("tools: a C compiler and Python's headers are here")
        elif not toolchain.can_install():
            lines.append(f"       {toolchain.advice(missing)}")
    wanted = free_space.needs(decision.flavour, env, os.environ)
    lines.append(f"space: {', '.join(f'{gib:.0f} GiB for {purpose}' for purpose, _, gib in wanted)}")
    lines += [f"       {sentence}" for sentence in free_space.shortages(wanted)]
    return lines


def _missing_tools(decision: Decision) -> dict[str, str]:
    if decision.flavour not in steps.FOR_GPUS:
        return {}
    return toolchain.packages_missing_here(compatibility=decision.compatibility)
