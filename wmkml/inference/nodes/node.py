"""One node as the head sees it: away, joining, answering, or refused; it answers only after it has proved every adapter.

The node has no say in it: the head asks, again and again, and each time the node has been away it begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any

import httpx

from wmkml.adapters.checks import AdapterRefusedError
from wmkml.engine.protocol import Adapter, Engine, EngineDiedError
from wmkml.engine.remote_engine import CONNECT_SECONDS, HEALTH_SECONDS, RemoteEngine
from wmkml.engine.remote_protocol import Deployment, ProtocolError
from wmkml.engine.setup import EngineSetup
from wmkml.inference.nodes.node_service import BASE
from wmkml.inference.swap_proof import SwapProver
from wmkml.protocol.inference import NodeState, NodeStatus

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Between two tries to reach a node that is away."""

REFUSED_SECONDS = 10.0
"""Until a node is asked again that was refused."""

START_SECONDS = 30.0
"""The longest that a healthy node may take to say what it can do."""

LOAD_SECONDS = 30.0
"""The longest that a node may take to load and prove an adapter: the swap waits for it."""

LIFE_SECONDS = 0.1
"""How often it is looked whether a node that answers still lives."""

LoadWhatIsHeld = Callable[["Node"], Awaitable[None]]
"""Has a node load every adapter that the head holds, and then counts it among those that answer."""


class NodeRefusedError(RuntimeError):
    """The node must not answer.  The text is a sentence for the operator."""


class Node:
    """A node's state, and its engine while it has one."""

    def __init__(self, address: str, key: Callable[[], str], label: str, setup: EngineSetup, fingerprint: str) -> None:
        """Args:
        address: host and port.
        key: the node key; called whenever the node is asked to join, and to see whether it was rotated.
        label: begins the names of this installation's adapters.
        fingerprint: of the head's model.
        """
        self.address = address
        self._read_key = key
        self._deployment = Deployment(f"http://{address}", key(), BASE, label, uploads=True)
        self._setup, self._fingerprint = setup, fingerprint
        self._engine: RemoteEngine | None = None
        self._prover: SwapProver | None = None
        self._loaded: set[Adapter] = set()
        self.state: NodeStatus = "away"
        self.reason = "it was not reached yet"
        self.copies = 1
        self.outstanding = 0

    def describe(self) -> NodeState:
        """The node's state for owner, desk and `status`."""
        return NodeState(address=self.address, state=self.state, reason=self.reason, answers=self.outstanding)

    @property
    def load(self) -> float:
        """Answers under way for each copy of the model."""
        return self.outstanding / self.copies

    def answers_with(self, adapter: Adapter | None) -> Engine | None:
        """Its engine, if it answers and holds this adapter (None: the base model)."""
        if self.state != "answers" or self._engine is None or not self._engine.alive():
            return None
        return self._engine if adapter is None or adapter in self._loaded else None

    async def keep(self, load_what_is_held: LoadWhatIsHeld) -> None:
        """Reach the node, have it join, see it go, and begin anew; never returns."""
        while True:
            pause = RETRY_SECONDS
            try:
                if await self._join(load_what_is_held):
                    while self._answers():  # noqa: ASYNC110
                        await asyncio.sleep(LIFE_SECONDS)
                    if self.state == "refused":
                        pause = REFUSED_SECONDS
                    elif self._key_rotated():
                        self._become("joining", "the key between head and nodes was rotated")
                        pause = 0.0
                    else:
                        self._become("away", "it broke off or does not answer")
            except NodeRefusedError as error:
                self._become("refused", str(error))
                pause = REFUSED_SECONDS
            except (EngineDiedError, httpx.TransportError) as error:
                self._become("away", _reason(error))
            except ProtocolError as error:
                self._become("away", str(error))
            except Exception as error:
                # Whatever it is, this task must not end, or the node is not asked again until the head is started anew.
                log.exception("Node %s.", self.address)
                self._become("away", f"an error of the head's: {type(error).__name__}")
            finally:
                await self._drop_engine()
            await asyncio.sleep(pause)

    def _answers(self) -> bool:
        """Whether it goes on answering with the key by which it joined."""
        alive = self._engine is not None and self._engine.alive()
        return alive and self.state == "answers" and not self._key_rotated()

    def _key_rotated(self) -> bool:
        return self._read_key() != self._deployment.key

    async def _join(self, load_what_is_held: LoadWhatIsHeld) -> bool:
        """Have the node join, if it is ready; returns whether it answers now."""
        self._deployment = replace(self._deployment, key=self._read_key())
        health = await self._health()
        if health is None:
            self._become("joining", "it loads its model")
            return False
        self._check(health)
        self.copies = health["copies"]
        self._become("joining", "it is given the adapters")
        self._engine = RemoteEngine(self._setup, self._deployment)
        try:
            await asyncio.wait_for(self._engine.start(), START_SECONDS)
        except TimeoutError:
            raise EngineDiedError("it went away while it joined") from None
        self._prover, self._loaded = SwapProver(self._engine), set()
        await load_what_is_held(self)
        return True

    async def _health(self) -> dict[str, Any] | None:
        """What is needed of the node's `/healthz`; None while it loads its model.

        Raises:
            NodeRefusedError: it does not take the key, or is no node.
        """
        timeout = httpx.Timeout(HEALTH_SECONDS, connect=CONNECT_SECONDS)
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            reply = await client.get(
                f"{self._deployment.url}/healthz", headers={"Authorization": f"Bearer {self._deployment.key}"}
            )
        if reply.status_code == 403:
            raise NodeRefusedError(
                "it does not take this installation's key: there, env/bin/python -m wmkml keys take node"
            )
        if reply.status_code != 200:
            return None
        try:
            body = reply.json()
            return {"model": str(body["model"]), "window": int(body["window"]), "copies": max(1, int(body["copies"]))}
        except (ValueError, KeyError, TypeError):
            raise NodeRefusedError("what answers there is no node: start it with --join") from None

    def _check(self, health: dict[str, Any]) -> None:
        if health["model"] != self._fingerprint:
            raise NodeRefusedError("its model is another one than here, by its hash: give it the same folder or hub id")
        if health["window"] < self._setup.chosen_window:
            raise NodeRefusedError(
                f"its window is {health['window']} tokens, and here it is {self._setup.chosen_window}"
            )

    async def load_and_prove(self, adapter: Adapter) -> None:
        """Have it load an adapter, and prove that it uses it.

        Raises:
            NodeRefusedError: it cannot load or does not use it.
            EngineDiedError: it is away.
        """
        if self._engine is None or self._prover is None:
            raise EngineDiedError("The node is away.")
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await self._engine.load(adapter)
                await self._prover.prove(adapter)
        except AdapterRefusedError as error:
            raise NodeRefusedError(str(error)) from None
        except TimeoutError:
            raise NodeRefusedError(f"it took more than {LOAD_SECONDS:g} s to load an adapter") from None
        except OSError as error:
            # Also where it was unloaded here meanwhile, and its files are gone.
            raise NodeRefusedError(f"the adapter cannot be read here ({error.strerror})") from None
        self._loaded.add(adapter)

    async def unload(self, adapter: Adapter) -> None:
        """Have it unload an adapter, if it holds it.

        Raises:
            EngineDiedError: it is away.
        """
        if self._engine is not None and adapter in self._loaded:
            self._loaded.discard(adapter)
            await self._engine.unload(adapter)

    async def clear_prompt_cache(self) -> None:
        """Have it forget all prompts.

        Raises:
            EngineDiedError: it is away.
        """
        if self._engine is not None:
            await self._engine.clear_prompt_cache()

    @property
    def holds(self) -> Collection[Adapter]:
        """The adapters that it has loaded and proved."""
        return self._loaded

    def admit(self) -> None:
        """From now on it answers."""
        self._become("answers", "")

    def refuse(self, reason: str) -> None:
        """It must not answer any more; its answers under way are asked elsewhere."""
        self._become("refused", reason)

    def _become(self, state: NodeStatus, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            log.log(
                logging.INFO if state in ("answers", "joining") else logging.WARNING,
                "Node %s: %s%s.",
                self.address,
                state,
                f", {reason.removesuffix('.')}" if reason else "",
            )
        self.state, self.reason = state, reason

    async def _drop_engine(self) -> None:
        engine, self._engine, self._prover, self._loaded = self._engine, None, None, set()
        if engine is not None:
            await engine.abandon()

    async def leave(self) -> None:
        """Have it unload everything; called when the head ends."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.stop()


def _reason(error: EngineDiedError | httpx.TransportError) -> str:
    """Why nothing is to be had of a node, for the operator."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return "it does not answer"  # its port is open: it hangs, or computes far too slowly
    return "nobody answers there" if isinstance(error, httpx.TransportError) else str(error)
