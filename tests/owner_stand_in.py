"""A stand-in of the owner, for the tests of the page and of the Tk window: the owner's routes, and a run that is played.

It speaks every message of `wmkml.wire` and the page's real routes, over real HTTP; nothing in it thinks or trains.  What
happens when is decided by whoever holds it: `POST /stand_in/round`, `/stand_in/last_words`, `/stand_in/end`.
What was said outlives its process in `--memory FILE`, so that it can be killed and come back, as the owner can.

    python -m tests.owner_stand_in --port 8123 --memory /tmp/memory.json [--keep-runs] [--log-words] [--pause 0.05]
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from wmkml import wire
from wmkml.owner.page_routes import add_pages

STAGE_KEY = "stage-key-of-the-stand-in"
ANSWERS = {
    "de": ["Eine ", "Sprache ", "ist ", "ein ", "Haus ", "aus ", "Wört", "ern", " 🏠", ". ", " Und", " dann", " der"],
    "en": ["A ", "language ", "is ", "a ", "house ", "of ", "words", " 🏠", ". ", " And", " then", " the"],
}
ROUNDS = 9


class Stage:
    """The run as it is played: one run, its rounds, what was said, and who listens."""

    def __init__(self, memory: Path, keep_runs: bool, log_words: bool, pause: float) -> None:
        self.memory, self.keep_runs, self.log_words, self.pause = memory, keep_runs, log_words, pause
        self.listeners: list[tuple[str | None, asyncio.Queue[str]]] = []
        self.typed: list[dict[str, Any]] = []
        self.events = 0
        kept = json.loads(memory.read_text()) if memory.is_file() else {}
        self.runs: int = kept.get("runs", 0)
        self.phase: wire.Phase = kept.get("phase", "waiting")
        self.language: str | None = kept.get("language")
        self.iteration: int = kept.get("iteration", -1)
        self.rounds = [wire.RoundRecord(**one) for one in kept.get("rounds", [])]
        self.said: dict[str, list[dict[str, Any]]] = kept.get("said", {})

    def remember(self) -> None:
        """Write down what a killed owner would still know."""
        self.memory.write_text(
            json.dumps(
                {
                    "runs": self.runs,
                    "phase": self.phase,
                    "language": self.language,
                    "iteration": self.iteration,
                    "rounds": [one.model_dump() for one in self.rounds],
                    "said": self.said,
                }
            )
        )

    def state(self) -> wire.RunState:
        """The run as everyone may know it."""
        waiting = self.phase == "waiting"
        busy = [one for one in self.rounds if one.status == "training"]
        return wire.RunState(
            run=None if waiting else f"run-{self.runs}",
            phase=self.phase,
            language=self.language,
            languages=["de", "en"],
            iteration=self.iteration,
            num_total_iters=ROUNDS,
            elapsed_seconds=0.0 if waiting else 60.0,
            time_left_seconds=None if waiting else 1140.0,
            round=self.rounds[-1] if self.rounds else None,
            rounds=self.rounds,
            pairs={"visitor": sum(map(len, self.said.values())), "echo": 0, "persistent": 6, "dataset": 0},
            stations=len(self.said),
            inference="ready",
            worker="training" if busy else "ready",
            model="understudy",
            engine="none",
            keep_runs=self.keep_runs,
            log_visitor_words=self.log_words,
        )

    def tell(self, name: str, data: dict[str, Any], station: str | None = None) -> None:
        """An event for everybody, or, with a station, for that station and the stage."""
        self.events += 1
        block = f"id: {self.events}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
        for listener, queue in self.listeners:
            if station is None or listener in (None, station):
                queue.put_nowait(block)

    def tell_state(self) -> None:
        """The event `state`; and what is known is written down."""
        self.remember()
        self.tell("state", self.state().model_dump())


def stand_in(stage: Stage) -> FastAPI:
    """The app: the owner's routes, the page's, and the handles of whoever plays."""
    app = FastAPI()
    add_pages(app)

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/state")
    async def state() -> wire.RunState:
        return stage.state()

    @app.get("/station")
    async def station(station: str) -> dict[str, Any]:
        return {"language": stage.language, "exchanges": stage.said.get(station, [])}

    @app.post("/language")
    async def language(choice: wire.LanguageChoice) -> Any:
        if choice.language not in ("de", "en"):
            return JSONResponse(wire.Refusal(error="That language is not configured.").model_dump(), 400)
        stage.runs, stage.phase, stage.language, stage.iteration = stage.runs + 1, "running", choice.language, -1
        stage.rounds, stage.said = [], {}
        stage.tell("run_started", {"run": f"run-{stage.runs}"})
        stage.tell_state()
        return {"status": "success"}

    @app.post("/typing_event")
    async def typing(event: wire.TypingEvent) -> dict[str, bool]:
        stage.typed.append(event.model_dump())
        return {"ok": True}

    @app.post("/chat")
    async def chat(request: wire.ChatRequest) -> Any:
        if stage.phase == "waiting":
            return JSONResponse(wire.Refusal(error="No run is alive; choose a language first.").model_dump(), 409)
        if len(request.prompt) > 2000:
            return JSONResponse(wire.Refusal(error="The prompt is too long for the model's window.").model_dump(), 413)
        return StreamingResponse(answer(request), media_type="text/event-stream")

    async def answer(request: wire.ChatRequest) -> AsyncIterator[str]:
        def block(name: str, message: wire.Message) -> str:
            return f"event: {name}\r\ndata: {message.model_dump_json()}\r\n\r\n"

        here, iteration, run = request.station, stage.iteration, stage.runs
        tokens = ANSWERS[request.language or stage.language or "de"]
        kept = "".join(tokens).index(".") + 1  # Inside a token, and after a character that JavaScript counts twice.
        text = "".join(tokens)[:kept]
        stage.tell("prompt", {"station": here, "text": request.prompt}, here)
        yield block("start", wire.ChatStart(iteration=iteration))
        for index, piece in enumerate(tokens):
            probability = (0.98, 0.71, 0.9, 0.35, 0.12)[index % 5]
            token = {"text": piece, "probability": probability, "entropy": 1 - probability}
            stage.tell("token", {"station": here, "iteration": iteration, **token}, here)
            yield block("token", wire.ChatToken(**token))
            await asyncio.sleep(stage.pause)
        if stage.runs == run:
            stage.said.setdefault(here, []).append({"prompt": request.prompt, "text": text, "iteration": iteration})
            stage.remember()
        stage.tell("response", {"station": here, "text": text, "iteration": iteration}, here)
        yield block("end", wire.ChatEnd(iteration=iteration, pair=1, kept=kept, text=text))

    @app.get("/events")
    async def events(request: Request, station: str | None = None, key: str | None = None) -> Any:
        if station is None and (key or request.headers.get("X-Key")) != STAGE_KEY:
            return JSONResponse(wire.Refusal(error="A station or the stage's key is needed.").model_dump(), 403)
        return StreamingResponse(listen(station), media_type="text/event-stream")

    async def listen(station: str | None) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        entry = (station, queue)
        stage.listeners.append(entry)
        try:
            yield f"event: state\ndata: {stage.state().model_dump_json()}\n\n: alive\n\n"
            while True:
                yield await queue.get()
        finally:
            stage.listeners.remove(entry)

    add_handles(app, stage)
    return app


def add_handles(app: FastAPI, stage: Stage) -> None:
    """What only the stand-in has: the handles that make the run go on."""

    @app.post("/stand_in/round")
    async def play_round(swap: bool = True) -> dict[str, int]:
        """Train the next round step by step and, unless told otherwise, swap it in."""
        number = len(stage.rounds)
        record = wire.RoundRecord(
            iteration=number, status="training", learning_rate=0.0015 - number * 0.0001, samples=60, steps=4
        )
        stage.rounds.append(record)
        for step in range(1, 5):
            record.step, record.loss = step, 3.2 - 0.3 * number - 0.15 * step + (0.2 if step % 2 else 0)
            record.loss_first = record.loss_first or record.loss
            stage.tell("round", record.model_dump())
            await asyncio.sleep(stage.pause)
        stage.tell_state()
        if swap:
            record.status, record.loss_last, stage.iteration = "accepted", record.loss, number
            event = wire.SwapEvent(iteration=number, swap_seconds=0.1, held_seconds=0.0)
            stage.tell("swap", event.model_dump())
            stage.tell_state()
        return {"iteration": number}

    @app.post("/stand_in/last_words")
    async def last_words() -> dict[str, bool]:
        stage.phase = "last_words"
        stage.tell("last_words", {})
        stage.tell_state()
        return {"ok": True}

    @app.post("/stand_in/end")
    async def end() -> dict[str, bool]:
        stage.phase, stage.language, stage.iteration, stage.rounds, stage.said = "waiting", None, -1, [], {}
        stage.tell("run_end", {})
        stage.tell_state()
        return {"ok": True}

    @app.get("/stand_in/typed")
    async def typed() -> list[dict[str, Any]]:
        return stage.typed


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--memory", type=Path, required=True)
    parser.add_argument("--keep-runs", action="store_true")
    parser.add_argument("--log-words", action="store_true")
    parser.add_argument("--pause", type=float, default=0.03, help="seconds between tokens and steps")
    arguments = parser.parse_args()
    stage = Stage(arguments.memory, arguments.keep_runs, arguments.log_words, arguments.pause)
    uvicorn.run(stand_in(stage), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
