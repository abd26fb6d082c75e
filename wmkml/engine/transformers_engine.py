"""transformers as an engine, where vLLM does not run: a thread that steps sequences through the model, adapters by PEFT.

Between any two steps the sequences of the smallest priority number go first, equals in turn, so that a visitor waits for
one step of an echo at most.  What is asked in the same turn of the event loop begins together and so, as far as prompts
are of similar length, takes its steps together, the same ones every time: with seeds, answers repeat.  What it cannot do
that vLLM can: let a sequence join others that have begun.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import torch

from wmkml.engine.adapters import Expectation, LoadedAdapters, check_adapter
from wmkml.engine.batch import Batch, Row
from wmkml.engine.protocol import Adapter, AdapterRefused, EngineDied, Generation, Step
from wmkml.engine.setup import EngineSetup

log = logging.getLogger(__name__)

_ENDED = "The engine has ended."
Job = Callable[[], None]


def chosen_device() -> torch.device:
    """CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class TransformersEngine:
    """See `wmkml.engine.protocol.Engine`."""

    name = "transformers"

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._expectation = Expectation(setup.rank, setup.shapes)
        self._adapters = LoadedAdapters(setup.adapters)
        self._ends = frozenset(setup.end_tokens)
        self._device = chosen_device()
        self._model: Any = None
        self._peft: Any = None
        self._active: Adapter | None = None
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._arrived: list[Row] = []
        self._batches: list[Batch] = []
        self._clock = 0
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._setup.chosen_window

    async def start(self) -> None:
        """Load the model and start the thread."""
        await asyncio.to_thread(self._load_model)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def _load_model(self) -> None:
        from transformers import AutoModelForCausalLM

        if self._setup.threads:
            torch.set_num_threads(self._setup.threads)
        dtype = torch.bfloat16 if self._setup.dtype == "auto" else getattr(torch, self._setup.dtype)
        model = AutoModelForCausalLM.from_pretrained(str(self._setup.model), dtype=dtype, local_files_only=True)
        self._model = model.to(self._device).eval()

    async def stop(self) -> None:
        """End the thread and let go of the model."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._jobs.put(lambda: None)
            await asyncio.to_thread(thread.join)
        self._model = self._peft = None

    async def load(self, adapter: Adapter) -> None:
        """Check an adapter and add it between two steps."""
        self._adapters.check_free(adapter)
        await asyncio.to_thread(check_adapter, adapter.path, self._expectation)
        self._adapters.add(adapter)
        try:
            await self._between_steps(lambda: self._add(adapter))
        except AdapterRefused:
            self._adapters.remove(adapter)
            raise

    async def unload(self, adapter: Adapter) -> None:
        """Take an adapter out between two steps."""
        self._adapters.remove(adapter)
        await self._between_steps(lambda: self._remove(adapter))

    async def forget_prompts(self) -> None:
        """Nothing to do: what was read of a prompt goes with its answers."""

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """Steps of one answer; closing the iterator frees its row before the next step."""
        self._adapters.check_loaded(generation.adapter)
        if not self.alive():
            raise EngineDied(_ENDED)
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[Step | None] = asyncio.Queue()

        def tell(step: Step | None) -> None:
            # The loop may be closed already when the process ends.
            if not loop.is_closed():
                loop.call_soon_threadsafe(steps.put_nowait, step)

        row = self._row(generation, tell)
        self._arrived.append(row)
        loop.call_soon(self._hand_over)
        try:
            while True:
                step = await steps.get()
                if step is None:
                    raise EngineDied(_ENDED)
                yield step
                if step.finish is not None:
                    return
        finally:
            row.closed = True

    def _hand_over(self) -> None:
        """Give the thread, in one go, what was asked in this turn of the loop."""
        rows, self._arrived = self._arrived, []
        if not rows:
            return
        self._jobs.put(lambda: self._enter(rows))
        if not self.alive():
            # The thread has ended meanwhile and may not have seen these rows.
            for row in rows:
                row.tell(None)

    def alive(self) -> bool:
        """False before the start and once the thread has ended."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping

    def _row(self, generation: Generation, tell: Callable[[Step | None], None]) -> Row:
        generator = None
        if generation.sampling.seed is not None:
            generator = torch.Generator().manual_seed(generation.sampling.seed)
        size = self._model.get_output_embeddings().weight.shape[0]
        return Row(generation, tell, torch.zeros(size), generator)

    async def _between_steps(self, work: Job) -> None:
        """Have the thread do this between two steps, and wait for it."""
        if not self.alive():
            raise EngineDied(_ENDED)
        done: Future[None] = Future()

        def job() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  (told to whoever waits)
                done.set_exception(error)
            else:
                done.set_result(None)

        self._jobs.put(job)
        await asyncio.wrap_future(done)

    # --- in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while not self._stopping:
                    self._turn()
        except Exception as error:
            # Whoever waits is told below, and the service ends; the traceback holds tensors' shapes, no words.
            log.exception("The engine's thread has ended: %s", type(error).__name__)
        finally:
            self._stopping = True
            while not self._jobs.empty():
                self._jobs.get()()
            for batch in self._batches:
                for row in batch.rows:
                    row.tell(None)

    def _turn(self) -> None:
        """Do what was asked between steps, then one step of the batch whose turn it is; wait if there is none."""
        while not self._batches or not self._jobs.empty():
            self._jobs.get()()
            if self._stopping:
                return
        batch = self._next()
        self._activate(batch.adapter)
        batch.advance(self._model, self._setup.batched_tokens, self._ends, self._device)
        self._clock += 1
        batch.turn = self._clock
        self._batches = [one for one in self._batches if any(not row.closed for row in one.rows)]

    def _next(self) -> Batch:
        first = min(batch.priority for batch in self._batches)
        equals = [batch for batch in self._batches if batch.priority == first]
        # Where the cache is full, those that have begun go on and the others wait; a visitor never waits for echoes.
        full = sum(batch.memory for batch in equals) >= self._setup.sequences
        begun = [batch for batch in equals if batch.begun]
        return min(begun if full and begun else equals, key=lambda batch: (batch.turn, batch.arrival))

    def _enter(self, rows: list[Row]) -> None:
        for row in rows:
            if row.closed:
                continue
            asked = row.generation
            for batch in self._batches:
                if batch.joins(asked, self._setup.sequences):
                    batch.rows.append(row)
                    break
            else:
                self._clock += 1
                self._batches.append(Batch(asked.adapter, asked.priority, self._clock, [row], self._clock))

    def _add(self, adapter: Adapter) -> None:
        from peft import PeftModel

        name, folder = _peft_name(adapter), str(adapter.path)
        more = {"is_trainable": False, "autocast_adapter_dtype": False}
        try:
            if self._peft is None:
                # PEFT puts its layers into the model itself; this object only holds the names.
                self._peft = PeftModel.from_pretrained(self._model, folder, name, **more)
            else:
                self._peft.load_adapter(folder, name, **more)
        except Exception as error:
            if self._peft is not None and name in self._peft.peft_config:
                self._peft.delete_adapter(name)
            raise AdapterRefused(f"PEFT cannot load the adapter ({type(error).__name__}).") from error
        finally:
            self._model.eval()
            self._switch(self._active)

    def _remove(self, adapter: Adapter) -> None:
        self._switch(None)
        self._active = None
        self._peft.delete_adapter(_peft_name(adapter))

    def _activate(self, adapter: Adapter | None) -> None:
        if adapter != self._active:
            self._switch(adapter)
            self._active = adapter

    def _switch(self, adapter: Adapter | None) -> None:
        if self._peft is None:
            return
        if adapter is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.base_model.set_adapter(_peft_name(adapter), inference_mode=True)


def _peft_name(adapter: Adapter) -> str:
    # PEFT's names are attribute names in the model: digits and letters only.
    return f"adapter{adapter.id}"
