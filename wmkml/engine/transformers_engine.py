"""transformers as an engine, where vLLM does not run: one thread steps batches through the model; PEFT holds adapters.

Before each step a batch of the smallest priority number is chosen, so that a visitor waits for at most one step of an
echo.  Of equal ones, prompts are read in the order in which they came, in every other step, and the steps between are the
answers', in turn: were reading a long prompt one of many turns for each of its parts, the last of sixty visitors would wait
for sixty times as long as the first, and whoever has talked for longest would wait for longest.
Generations that are requested in the same turn of the event loop arrive together; those with prompts of similar length form
one batch, always the same, so that with seeds answers repeat.  Unlike in vLLM, no generation joins a batch that has begun.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import torch

from wmkml.adapters.checks import AdapterRefusedError, Expectation, check_adapter
from wmkml.engine.batch import BatchRow, DecodingBatch, OnStep
from wmkml.engine.loaded_adapters import LoadedAdapters
from wmkml.engine.protocol import Adapter, EngineDiedError, Generation, Step
from wmkml.engine.setup import EngineSetup
from wmkml.models.devices import default_device
from wmkml.system.memory import no_garbage_collection

log = logging.getLogger(__name__)

_ENDED = "The engine has ended."

Job = Callable[[], None]
"""Work for the thread, done between two steps."""


def layer_shapes(model: Any) -> dict[str, tuple[int, int]]:
    """(out, in) of every layer of a model that an adapter may change, by its module's name."""
    from transformers.pytorch_utils import Conv1D

    shapes = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and weight.dim() == 2:
            out, inputs = weight.shape if not isinstance(module, Conv1D) else reversed(weight.shape)
            shapes[name] = (int(out), int(inputs))
    return shapes


class TransformersEngine:
    """See `wmkml.engine.protocol.Engine`."""

    name = "transformers"

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._expectation = Expectation(setup.rank, setup.shapes, setup.target_modules)
        self._adapters = LoadedAdapters(setup.adapters)
        self._end_tokens = frozenset(setup.end_tokens)
        self._device = torch.device(setup.device) if setup.device else default_device()
        self._model: Any = None
        self._peft: Any = None
        self._active: Adapter | None = None
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._arrived: list[BatchRow] = []
        self._batches: list[DecodingBatch] = []
        self._clock = 0  # counts arrivals and steps, to order batches by
        self._has_read = False  # whether the last step read a prompt
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def window(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._setup.chosen_window

    async def start(self) -> None:
        """Load the model and start the thread."""
        await asyncio.to_thread(self._load_model)
        self._thread = threading.Thread(target=self._run_thread, name="engine", daemon=True)
        self._thread.start()

    def _load_model(self) -> None:
        if self._setup.threads:
            torch.set_num_threads(self._setup.threads)
        dtype = torch.bfloat16 if self._setup.dtype == "auto" else getattr(torch, self._setup.dtype)
        with no_garbage_collection():  # it imports what this model needs
            from transformers import AutoModelForCausalLM

            model = AutoModelForCausalLM.from_pretrained(str(self._setup.model), dtype=dtype, local_files_only=True)
        # Of the model itself, since a file's names and shapes may be others: GPT-2's layers lie transposed in it.
        self._expectation = replace(self._expectation, shapes=layer_shapes(model))
        self._model = model.to(self._device).eval()

    async def stop(self) -> None:
        """End the thread and release the model."""
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
            await self._between_steps(lambda: self._add_adapter(adapter))
        except AdapterRefusedError:
            self._adapters.remove(adapter)
            raise

    async def unload(self, adapter: Adapter) -> None:
        """Take an adapter out between two steps."""
        self._adapters.remove(adapter)
        await self._between_steps(lambda: self._remove_adapter(adapter))

    async def clear_prompt_cache(self) -> None:
        """Nothing to do: each batch has a cache of its own, which ends with its answers."""

    async def log_probabilities(self, tokens: Sequence[int], adapter: Adapter | None) -> list[list[float]]:
        """One forward pass between two steps."""
        self._adapters.check_loaded(adapter)
        values: list[float] = []
        await self._between_steps(lambda: values.extend(self._read(tokens, adapter)))
        return [values]

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        """Steps of one answer; closing the iterator frees its row before the next step."""
        self._adapters.check_loaded(generation.adapter)
        if not self.alive():
            raise EngineDiedError(_ENDED)
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[Step | None] = asyncio.Queue()

        def on_step(step: Step | None) -> None:
            # When the process ends, the loop may be closed already.
            if not loop.is_closed():
                loop.call_soon_threadsafe(steps.put_nowait, step)

        row = self._create_row(generation, on_step)
        self._arrived.append(row)
        loop.call_soon(self._submit_arrived)
        try:
            while True:
                step = await steps.get()
                if step is None:
                    raise EngineDiedError(_ENDED)
                yield step
                if step.finish is not None:
                    return
        finally:
            row.closed = True

    def _submit_arrived(self) -> None:
        """Give the thread all generations that were requested in this turn of the event loop as one job."""
        rows, self._arrived = self._arrived, []
        if not rows:
            return
        self._jobs.put(lambda: self._add_rows(rows))
        if not self.alive():
            # The thread may have ended before it saw this job.
            for row in rows:
                row.on_step(None)

    def alive(self) -> bool:
        """False before the start and once the thread has ended."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping

    def _create_row(self, generation: Generation, on_step: OnStep) -> BatchRow:
        generator = None
        if generation.sampling.seed is not None:
            generator = torch.Generator().manual_seed(generation.sampling.seed)
        size = self._model.get_output_embeddings().weight.shape[0]
        return BatchRow(generation, on_step, torch.zeros(size), generator)

    async def _between_steps(self, work: Job) -> None:
        """Have the thread call `work` between two steps; returns when it is done, or raises its exception."""
        if not self.alive():
            raise EngineDiedError(_ENDED)
        future: Future[None] = Future()

        def job() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001  (raised again in the waiting coroutine)
                future.set_exception(error)
            else:
                future.set_result(None)

        self._jobs.put(job)
        await asyncio.wrap_future(future)

    # --- in the thread ---------------------------------------------------------------------------------------------

    def _run_thread(self) -> None:
        try:
            with torch.inference_mode():
                while not self._stopping:
                    self._step()
        except Exception as error:
            # The rows are closed below and the service ends.  The traceback holds no text, the engine has none.
            log.exception("The engine's thread has ended: %s", type(error).__name__)
        finally:
            self._stopping = True
            while not self._jobs.empty():
                self._jobs.get()()
            for batch in self._batches:
                for row in batch.rows:
                    row.on_step(None)

    def _step(self) -> None:
        """Do the pending jobs, then one step of the batch whose turn it is; wait for a job while there is no batch."""
        while not self._batches or not self._jobs.empty():
            self._jobs.get()()
            if self._stopping:
                return
        batch = self._next_batch()
        self._has_read = batch.reads
        self._activate(batch.adapter)
        batch.advance(self._model, self._setup.batched_tokens, self._end_tokens, self._device)
        self._clock += 1
        batch.last_turn = self._clock
        self._batches = [batch for batch in self._batches if any(not row.closed for row in batch.rows)]

    def _next_batch(self) -> DecodingBatch:
        highest = min(batch.priority for batch in self._batches)
        equals = [batch for batch in self._batches if batch.priority == highest]
        # When the cache is full, only batches that have begun go on.  Only equal priorities count, so no visitor waits.
        full = sum(batch.cached_rows for batch in equals) >= self._setup.sequences
        begun = [batch for batch in equals if batch.begun]
        candidates = begun if full and begun else equals
        reading = [batch for batch in candidates if batch.reads]
        answering = [batch for batch in candidates if not batch.reads]
        if reading and not (answering and self._has_read):
            return min(reading, key=lambda batch: batch.arrival)
        return min(answering, key=lambda batch: (batch.last_turn, batch.arrival))

    def _add_rows(self, rows: list[BatchRow]) -> None:
        for row in rows:
            if row.closed:
                continue
            generation = row.generation
            for batch in self._batches:
                if batch.accepts(generation, self._setup.sequences):
                    batch.rows.append(row)
                    break
            else:
                self._clock += 1
                batch = DecodingBatch(generation.adapter, generation.priority, self._clock, [row], self._clock)
                self._batches.append(batch)

    def _add_adapter(self, adapter: Adapter) -> None:
        from peft import PeftModel

        name, folder = _peft_name(adapter), str(adapter.path)
        options = {"is_trainable": False, "autocast_adapter_dtype": False}
        try:
            if self._peft is None:
                # PEFT replaces layers inside `self._model`; this object knows the adapters by name.
                self._peft = PeftModel.from_pretrained(self._model, folder, name, **options)
            else:
                self._peft.load_adapter(folder, name, **options)
        except Exception as error:
            if self._peft is not None and name in self._peft.peft_config:
                self._peft.delete_adapter(name)
            raise AdapterRefusedError(f"PEFT cannot load the adapter ({type(error).__name__}).") from error
        finally:
            self._model.eval()
            self._switch(self._active)

    def _read(self, tokens: Sequence[int], adapter: Adapter | None) -> list[float]:
        self._activate(adapter)
        ids = torch.tensor([list(tokens)], device=self._device)
        logits = self._model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[0, 1:, None])
        return [float(value) for value in chosen[:, 0]]

    def _remove_adapter(self, adapter: Adapter) -> None:
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
    # PEFT uses the name as a key of torch.nn.ModuleDict, which allows no dots.
    return f"adapter{adapter.id}"
