"""An engine that is several: the one of this machine, and those of the nodes; each answer goes to the least busy of them.

- A node answers only what it has proved: adapters are loaded and their probe read there before any request names them.
- A swap counts when every node that answers has it.  A node that does not take an adapter is left, not waited for.
- A node that is lost loses no answer: another engine goes on with it at the token where it broke off.  The tokens so far are
  its prompt's end, and the penalties that count them are a bias, so that it goes on as if nothing had happened.
- A node that was away is admitted when it holds what the head holds.

The engine of this machine is the one that the process lives and dies with.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from wmkml.engine.loaded_adapters import LoadedAdapters
from wmkml.engine.protocol import Adapter, Engine, EngineDiedError, Generation, Step
from wmkml.inference.nodes.node import Node, NodeRefusedError
from wmkml.protocol.inference import NodeState

log = logging.getLogger(__name__)

MAX_BIAS = 100.0
"""The largest bias of a logit that vLLM takes."""


class SpreadEngine:
    """See `wmkml.engine.protocol.Engine`."""

    def __init__(self, here: Engine, nodes: Sequence[Node], capacity: int, copies: int = 1) -> None:
        """Args:
        here: the engine of this machine.
        capacity: the most adapters at the same time.
        copies: copies of the model that `here` answers with.
        """
        self._here, self._nodes = here, list(nodes)
        self.name = here.name
        self._held = LoadedAdapters(capacity)
        self._lock = asyncio.Lock()
        self._copies = copies
        self._outstanding = 0
        self._keeping: list[asyncio.Task[None]] = []

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._here.window

    def alive(self) -> bool:
        """Whether the engine of this machine can generate."""
        return self._here.alive()

    def node_states(self) -> list[NodeState]:
        """Every node, whether it answers, and why not."""
        return [node.describe() for node in self._nodes]

    async def start(self) -> None:
        """Start the engine of this machine; nodes are reached from then on, and not waited for."""
        await self._here.start()
        self._keeping = [asyncio.create_task(node.keep(self._load_what_is_held)) for node in self._nodes]

    async def stop(self) -> None:
        """End the engine of this machine; nodes are asked to unload what they were given."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await asyncio.gather(*(node.leave() for node in self._nodes), return_exceptions=True)
        await self._here.stop()

    async def load(self, adapter: Adapter) -> None:
        """Load an adapter here, and on every node that answers; a node that cannot is left."""
        async with self._lock:
            self._held.check_free(adapter)
            await self._here.load(adapter)
            self._held.add(adapter)
            try:
                await self._on_answering_nodes(lambda node: node.load_and_prove(adapter))
            except BaseException:
                # Whoever asked for it will not ask to unload it.
                self._held.remove(adapter)
                with suppress(EngineDiedError):
                    await self._here.unload(adapter)
                raise

    async def unload(self, adapter: Adapter) -> None:
        """Unload an adapter here and on every node."""
        async with self._lock:
            self._held.remove(adapter)
            await self._here.unload(adapter)
            await self._on_answering_nodes(lambda node: node.unload(adapter))

    async def clear_prompt_cache(self) -> None:
        """Have every engine forget all past prompts and answers."""
        async with self._lock:
            await self._here.clear_prompt_cache()
            await self._on_answering_nodes(lambda node: node.clear_prompt_cache())

    async def log_probabilities(self, tokens: Sequence[int], adapter: Adapter | None) -> list[list[float]]:
        """Those of the engine of this machine; nodes have proved each adapter when they loaded it."""
        return await self._here.log_probabilities(tokens, adapter)

    async def _on_answering_nodes(self, act: Callable[[Node], Awaitable[None]]) -> None:
        """Do something on every node that answers; one that fails is left."""

        async def act_or_leave(node: Node) -> None:
            try:
                await act(node)
            except NodeRefusedError as error:
                node.refuse(str(error))
            except EngineDiedError:
                # Its own task sees that it has gone, and has it join again.
                return

        await asyncio.gather(*(act_or_leave(node) for node in self._nodes if node.state == "answers"))

    async def _load_what_is_held(self, node: Node) -> None:
        """Have a node load and prove every adapter, newest first, then let it answer."""
        for adapter in reversed(list(self._held)):
            try:
                await node.load_and_prove(adapter)
            except NodeRefusedError:
                # One that was unloaded here meanwhile has no files any more, and nobody asks it.
                if adapter in self._held:
                    raise
        # Meanwhile adapters may have come and gone; what is left is done while none can.
        async with self._lock:
            for adapter in set(node.holds) - set(self._held):
                await node.unload(adapter)
            for adapter in self._held:
                if adapter not in node.holds:
                    await node.load_and_prove(adapter)
            node.admit()

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """Steps of one answer, from the least busy engine; another one goes on with it where a node is lost."""
        self._held.check_loaded(generation.adapter)
        produced: list[int] = []
        rest = generation
        while True:
            node = self._least_busy(generation.adapter)
            engine = self._here if node is None else node.answers_with(generation.adapter) or self._here
            self._count(node, 1)
            steps = engine.generate(rest)
            try:
                async for step in steps:
                    produced.append(step.token)
                    yield step
                return
            except EngineDiedError:
                if engine is self._here:
                    raise
                log.warning("An answer goes on elsewhere, after %d tokens.", len(produced))
                rest = continued(generation, produced)
            finally:
                self._count(node, -1)
                await steps.aclose()  # type: ignore[attr-defined]  # every engine's is an async generator

    def _least_busy(self, adapter: Adapter | None) -> Node | None:
        """The node with the fewest answers for each copy of its model; None: it is the engine of this machine."""
        free = [node for node in self._nodes if node.answers_with(adapter) is not None]
        least = min(free, key=lambda node: node.load, default=None)
        # Of equals this machine answers: nothing crosses a network.
        return least if least is not None and least.load < self._outstanding / self._copies else None

    def _count(self, node: Node | None, change: int) -> None:
        if node is None:
            self._outstanding += change
        else:
            node.outstanding += change


def continued(generation: Generation, produced: Sequence[int]) -> Generation:
    """The rest of an answer of which these tokens are there already, as if the engine that made them went on.

    Penalties count what an answer has generated; of the tokens that are its prompt's end now they are a bias.  A presence
    penalty is counted a second time for one that is drawn again.
    """
    sampling = generation.sampling
    penalties = sampling.frequency_penalty or sampling.presence_penalty
    bias = {
        token: max(-MAX_BIAS, min(MAX_BIAS, -sampling.frequency_penalty * count - sampling.presence_penalty))
        for token, count in Counter(produced).items()
        if penalties
    }
    return replace(
        generation,
        id=uuid.uuid4().hex,
        prompt=(*generation.prompt, *produced),
        sampling=replace(sampling, max_tokens=sampling.max_tokens - len(produced), bias=tuple(bias.items())),
    )
