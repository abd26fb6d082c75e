"""The window's ear and mouth: listens to the owner's events and posts what is said, each in a thread of its own.

Everything heard is put into one queue as `News`.  Survives the owner: it connects again, with a pause, for as long as it
lives.  Knows no Tk, and nothing of how news are shown.  Every visitor is a station of their own: `leave` makes the next.
"""

from __future__ import annotations

import collections
import contextlib
import json
import queue
import secrets
import threading
from collections.abc import Callable
from typing import Any

import httpx
import httpx_sse

from wmkml import wire
from wmkml.gui.news import (
    Answered,
    Chosen,
    Connection,
    News,
    Prompt,
    Response,
    RunOver,
    RunStarted,
    Start,
    Swap,
    Token,
    Typing,
)

RETRY_SECONDS = 1.0
# The owner's keep-alive comments come more often; a machine that was unplugged says nothing at all.
SILENCE_SECONDS = 60.0
# A prompt is held while the engine starts anew, which takes minutes for a large model.
ANSWER_SECONDS = 600.0
FORMER_STATIONS = 20
"""Of so many visitors who left, words that still come late are not shown to the next."""


class OwnerClient:
    """Speaks to the owner at `address` (as `http://127.0.0.1:8000`) and puts what it hears into `news`.

    `stage_key` is asked at every connection, since the owner makes the key file at its first start; `None` means that
    the file cannot be read, and then only the window's own words are heard.
    """

    def __init__(self, address: str, stage_key: Callable[[], str | None], news: queue.Queue[News]) -> None:
        self._stage_key, self._news = stage_key, news
        self.station = _new_station()
        self._former: collections.deque[str] = collections.deque(maxlen=FORMER_STATIONS)
        self._closed = threading.Event()
        self._everybody = False
        # No proxy of the environment stands between this machine and itself.
        self._http = httpx.Client(base_url=address, trust_env=False, timeout=httpx.Timeout(10, read=SILENCE_SECONDS))

    def start(self) -> None:
        """Begin to listen; returns at once."""
        station = self.station
        self._thread(lambda: self._listen(station))

    def close(self) -> None:
        """Say nothing any more; threads that wait for the owner end with the process."""
        self._closed.set()

    def ask(self, prompt: str, language: str | None) -> None:
        """Say something at the window's station.  The answer comes as events; `Answered` tells how it ended."""
        station = self.station
        self._thread(lambda: self._ask(prompt, language, station))

    def choose(self, language: str) -> None:
        """Start a run in this language if one is awaited, else join the run that lives.  `Chosen` tells how it ended."""
        station = self.station
        self._thread(lambda: self._choose(language, station))

    def typing(self, status: str) -> None:
        """Tell that somebody is `typing`, or has `stopped`."""
        station = self.station
        self._thread(lambda: self._typing(status, station))

    def leave(self) -> None:
        """The visitor is gone: an answer under way is given up, and the next one is another station."""
        self._former.append(self.station)
        self.station = _new_station()
        if not self._everybody:
            self.start()  # who hears a single station's words has to ask for the new one's

    def _thread(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _tell(self, news: News) -> None:
        if not self._closed.is_set():
            self._news.put(news)

    # --- listening ---

    def _listen(self, station: str) -> None:
        """Hear everybody, or this station for as long as it is the window's."""
        key = self._stage_key()
        while not self._closed.is_set():
            try:
                status = self._hear(key, station)
            except (httpx.HTTPError, httpx_sse.SSEError, ValueError):
                status = 0  # what cannot be understood is no owner, or one of another version: as good as away
            if self._is_over(station):
                return
            self._tell(Connection(there=False))
            # A key the owner does not take is no reason to see nothing: the window's own words need none.
            key = None if status in (401, 403) else self._stage_key()
            self._closed.wait(RETRY_SECONDS)

    def _is_over(self, station: str) -> bool:
        return self._closed.is_set() or (not self._everybody and station != self.station)

    def _hear(self, key: str | None, station: str) -> int:
        headers = {"X-Key": key} if key else {}
        parameters = {} if key else {"station": station}
        with httpx_sse.connect_sse(self._http, "GET", "/events", headers=headers, params=parameters) as source:
            if source.response.status_code != httpx.codes.OK:
                return source.response.status_code
            self._everybody = key is not None
            self._tell(Connection(there=True, everybody=self._everybody))
            self._read_state()
            for event in source.iter_sse():
                if self._is_over(station):
                    break
                self._understand(event)
        return 0

    def _understand(self, event: httpx_sse.ServerSentEvent) -> None:
        match event.event:
            case "state":
                self._tell(wire.RunState.model_validate_json(event.data))
            case "round":
                self._tell(wire.RoundRecord.model_validate_json(event.data))
            case "prompt" | "start" | "token" | "response":
                data = json.loads(event.data)
                if data["station"] not in self._former:
                    self._tell(_words(event.event, data))
            case "typing":
                self._tell(Typing(json.loads(event.data)["status"]))
            case "swap":
                self._tell(Swap(json.loads(event.data)["iteration"]))
                self._read_state()
            case "run_started":
                self._tell(RunStarted())
                self._read_state()
            case "run_end":
                self._tell(RunOver())
                self._read_state()
            case "last_words":
                self._read_state()
            case _:
                pass  # what others need and a window does not show

    def _read_state(self) -> wire.RunState | None:
        reply = self._http.get("/state")
        if reply.status_code != httpx.codes.OK:
            return None
        state = wire.RunState.model_validate_json(reply.content)
        self._tell(state)
        return state

    # --- speaking ---

    def _ask(self, prompt: str, language: str | None, station: str) -> None:
        answered = self._answer(prompt, language, station)
        if station == self.station:
            self._tell(answered)

    def _answer(self, prompt: str, language: str | None, station: str) -> Answered:
        patience = httpx.Timeout(10, read=ANSWER_SECONDS)
        with contextlib.suppress(httpx.HTTPError, httpx_sse.SSEError, ValueError):
            request = wire.ChatRequest(prompt=prompt, station=station, language=language)
            body = request.model_dump(exclude_none=True)
            with self._http.stream("POST", "/chat", json=body, timeout=patience) as reply:
                if reply.status_code != httpx.codes.OK:
                    reply.read()
                    return Answered(prompt, ok=False, refusal=_sentence(reply))
                for event in httpx_sse.EventSource(reply).iter_sse():
                    if event.event == "error":
                        refusal = wire.Refusal.model_validate_json(event.data).error
                        return Answered(prompt, ok=False, refusal=refusal)
                    if event.event == "end":
                        return Answered(prompt, ok=True)
                    if station != self.station:
                        break  # nobody waits for it any more: closing the stream has the owner give it up
        # A stream that stops before its end, or a connection that broke.
        return Answered(prompt, ok=False)

    def _choose(self, language: str, station: str) -> None:
        chosen = self._begin_or_join(language, station)
        if station == self.station:
            self._tell(chosen)

    def _begin_or_join(self, language: str, station: str) -> Chosen:
        try:
            state = self._read_state()
            if state is None or state.phase == "waiting":
                reply = self._http.post("/language", json={"language": language, "station": station, "join": True})
                if reply.status_code != httpx.codes.OK:
                    return Chosen(language, ok=False, refusal=_sentence(reply))
                self._read_state()
        except (httpx.HTTPError, ValueError):
            return Chosen(language, ok=False)
        return Chosen(language, ok=True)

    def _typing(self, status: str, station: str) -> None:
        # When the owner is away the listener tells so; nothing is lost with this message.
        with contextlib.suppress(httpx.HTTPError):
            self._http.post("/typing_event", json={"status": status, "station": station})


def _new_station() -> str:
    # Who knows a station's name may read its words: nobody else knows this one, and every visitor has their own.
    return f"window-{secrets.token_urlsafe(12)}"


def _words(name: str, data: dict[str, Any]) -> News:
    station = str(data["station"])
    match name:
        case "prompt":
            return Prompt(station, data["text"])
        case "start":
            return Start(station, data["iteration"])
        case "token":
            return Token(station, data["text"], data["probability"], data["entropy"], data["iteration"])
    return Response(station, data["text"], data["iteration"])


def _sentence(reply: httpx.Response) -> str:
    try:
        return wire.Refusal.model_validate_json(reply.content).error
    except ValueError:
        return f"HTTP {reply.status_code}"
