"""Loading an adapter into inference, which may be away, go away over it, or refuse it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wmkml.owner.inference.client import InferenceAwayError, InferenceClient, InferenceRefusedError
from wmkml.owner.inference.watch import InferenceWatch
from wmkml.protocol.run_state import AdapterProof

MOST_LOADS = 5
"""An adapter over whose loading inference went away so many times is not loaded again."""


@dataclass(frozen=True)
class LoadResult:
    """How loading ended.

    Attributes:
        restores: inference's count of restores when it loaded the adapter: at another count it may have lost it.
        problem: why the adapter cannot be loaded, as a sentence; empty where it is loaded.
        proof: that inference uses it; None where its trainer left no probe.
    """

    restores: int = -1
    problem: str = ""
    proof: AdapterProof | None = None


async def load_adapter(
    client: InferenceClient, watch: InferenceWatch, folder: Path, iteration: int, is_over: Callable[[], bool]
) -> LoadResult | None:
    """Have inference load the adapter in `folder`; waits while it is away.

    Args:
        is_over: whether nobody wants the adapter any more; asked after every wait.

    Returns:
        None when that became so meanwhile: what inference may have loaded is never named then.
    """
    for _ in range(MOST_LOADS):
        await watch.wait()
        if is_over():
            return None
        restores = watch.restores
        try:
            # Asked again for what it has, inference says yes; under this number it may have another adapter.
            reply = await client.reload(str(folder), iteration)
        except InferenceAwayError:
            watch.require_restore()
        except InferenceRefusedError as refusal:
            return None if is_over() else LoadResult(problem=f"inference refuses the adapter: {refusal}")
        else:
            return None if is_over() else LoadResult(restores, proof=reply.proof)
        if is_over():
            return None
    return LoadResult(problem=f"inference went away {MOST_LOADS} times over the adapter.")
