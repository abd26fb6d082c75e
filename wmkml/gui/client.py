"""The window's HTTP client: reads the owner's event stream and posts prompts, each in a daemon thread of its own.

Everything that arrives is put into one queue as a `WindowEvent`; the Tk thread empties it.  When the owner goes away,
the client tries again every `RETRY_SECONDS` until it is closed.  Each visitor is a new station, which `leave` creates.
"""

from __future__ import annotations

import collections
import contextlib
import json
import queue
import secrets
import ssl
import threading
from collections.abc import Callable
from typing import Any

import httpx
import httpx_sse

from wmkml.gui.events import (
    AdapterSwapped,
    AnswerStarted,
    ChoiceOutcome,
    Connection,
    LifeMoved,
    PromptOutcome,
    PromptReceived,
    ResponseReceived,
    RunEnded,
    RunStarted,
    TokenReceived,
    TypingReported,
    WindowEvent,
)
from wmkml.gui.private_answer import PrivateAnswer
from wmkml.protocol.base import Refusal
from wmkml.protocol.conversation import ChatRequest
from wmkml.protocol.run_state import IterationMeasures, RoundRecord, RunState

CONNECT_SECONDS = 10.0
"""Timeout of everything but reading."""

RETRY_SECONDS = 1.0
"""Pause between two attempts to connect."""

SILENCE_SECONDS = 60.0
"""Read timeout of the event stream: the owner's keep-alive comments come more often; an unplugged host sends none."""

ANSWER_SECONDS = 600.0
"""Read timeout of an answer: the owner holds a prompt while the engine restarts, for minutes with a large model."""

FORMER_STATIONS = 20
"""Number of former visitors whose late events are recognised, so that they are not shown to the next visitor."""


class WindowOwnerClient:
    """Speaks to the owner at `address` (such as `http://127.0.0.1:8000`) and puts what arrives into `events`.

    `stage_key` is called at every connection, because the owner creates the key file at its first start.  It returns
    None when the file cannot be read; the event stream then carries the window's own station only.
    """

    def __init__(
        self,
        address: str,
        stage_key: Callable[[], str | None],
        events: queue.Queue[WindowEvent],
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        """`verify`: of an owner with https, as httpx takes it."""
        self._stage_key, self._events = stage_key, events
        self.station = _new_station()
        self._former_stations: collections.deque[str] = collections.deque(maxlen=FORMER_STATIONS)
        self._closed = threading.Event()
        self._all_stations = False
        # trust_env=False: no proxy from the environment between this machine and itself.
        timeout = httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS)
        self._http = httpx.Client(base_url=address, trust_env=False, timeout=timeout, verify=verify)

    def start(self) -> None:
        """Begin to read the event stream; returns at once."""
        station = self.station
        self._run_in_thread(lambda: self._listen(station))

    def close(self) -> None:
        """Put no more events; threads that wait for the owner end with the process."""
        self._closed.set()

    def ask(self, prompt: str, language: str | None) -> None:
        """Send a prompt from the window's station.  The answer arrives as events, its end as a `PromptOutcome`."""
        station = self.station
        self._run_in_thread(lambda: self._ask(prompt, language, station))

    def choose(self, language: str) -> None:
        """Start a run in this language if none is alive, else join the one that is.  Ends with a `ChoiceOutcome`."""
        station = self.station
        self._run_in_thread(lambda: self._choose(language, station))

    def report_typing(self, status: str) -> None:
        """Report the typing status of this station: `typing` or `stopped`."""
        station = self.station
        self._run_in_thread(lambda: self._report_typing(status, station))

    def leave(self) -> None:
        """The visitor is gone: abandon an answer under way, and give the next visitor a new station."""
        self._former_stations.append(self.station)
        self.station = _new_station()
        if not self._all_stations:
            self.start()  # a stream of one station must be opened again for the new one

    def _run_in_thread(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _put(self, event: WindowEvent) -> None:
        if not self._closed.is_set():
            self._events.put(event)

    # --- receiving ---

    def _listen(self, station: str) -> None:
        """Read the event stream, of all stations or of `station` alone, and reconnect until it is no longer needed."""
        key = self._stage_key()
        while not self._closed.is_set():
            try:
                status = self._read_stream(key, station)
            except (httpx.HTTPError, httpx_sse.SSEError, ValueError):
                status = 0  # An answer that cannot be parsed is no owner, or one of another version: as good as away.
            if self._is_obsolete(station):
                return
            self._put(Connection(connected=False))
            # Where the owner refuses the key, go on without it: the window's own station needs none.
            newest = self._stage_key()
            key = None if status in (401, 403) and newest == key else newest
            self._closed.wait(RETRY_SECONDS)

    def _is_obsolete(self, station: str) -> bool:
        """Whether a stream opened for this station has nothing more to deliver."""
        return self._closed.is_set() or (not self._all_stations and station != self.station)

    def _read_stream(self, key: str | None, station: str) -> int:
        """Read `GET /events` until it ends.  Returns the status of a refusal, 0 otherwise."""
        headers = {"X-Key": key} if key else {}
        parameters = {} if key else {"station": station}
        with httpx_sse.connect_sse(self._http, "GET", "/events", headers=headers, params=parameters) as source:
            if source.response.status_code != httpx.codes.OK:
                return source.response.status_code
            self._all_stations = key is not None
            self._put(Connection(connected=True, all_stations=self._all_stations))
            self._read_state()
            for event in source.iter_sse():
                if self._is_obsolete(station):
                    break
                self._receive(event)
        return 0

    def _receive(self, event: httpx_sse.ServerSentEvent) -> None:
        match event.event:
            case "state":
                self._put(RunState.model_validate_json(event.data))
            case "round":
                self._put(RoundRecord.model_validate_json(event.data))
            case "measures":
                self._put(IterationMeasures.model_validate_json(event.data))
            case "life":
                self._put(LifeMoved(json.loads(event.data)["life"]))
            case "prompt" | "start" | "token" | "response":
                data = json.loads(event.data)
                if data["station"] not in self._former_stations:
                    self._put(_station_event(event.event, data))
            case "typing":
                self._put(TypingReported(json.loads(event.data)["status"]))
            case "swap":
                self._put(AdapterSwapped(json.loads(event.data)["iteration"]))
                self._read_state()
            case "run_started":
                self._put(RunStarted())
                self._read_state()
            case "run_end":
                self._put(RunEnded())
                self._read_state()
            case "last_words":
                self._read_state()
            case _:
                pass  # events that the window does not show

    def _read_state(self) -> RunState | None:
        response = self._http.get("/state")
        if response.status_code != httpx.codes.OK:
            return None
        state = RunState.model_validate_json(response.content)
        self._put(state)
        return state

    # --- sending ---

    def _ask(self, prompt: str, language: str | None, station: str) -> None:
        outcome = self._prompt_outcome(prompt, language, station)
        if station == self.station:
            self._put(outcome)

    def _prompt_outcome(self, prompt: str, language: str | None, station: str) -> PromptOutcome:
        timeout = httpx.Timeout(CONNECT_SECONDS, read=ANSWER_SECONDS)
        with contextlib.suppress(httpx.HTTPError, httpx_sse.SSEError, ValueError):
            request = ChatRequest(prompt=prompt, station=station, language=language)
            body = request.model_dump(exclude_none=True)
            with self._http.stream("POST", "/chat", json=body, timeout=timeout) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    return PromptOutcome(prompt, ok=False, refusal=_refusal_text(response))
                private = PrivateAnswer(station, prompt, self._put)
                for event in httpx_sse.EventSource(response).iter_sse():
                    if station == self.station:
                        private.receive(event.event, event.data)
                    if event.event == "error":
                        refusal = Refusal.model_validate_json(event.data).error
                        return PromptOutcome(prompt, ok=False, refusal=refusal)
                    if event.event == "end":
                        return PromptOutcome(prompt, ok=True)
                    if station != self.station:
                        break  # The visitor left: closing the stream makes the owner cancel the answer.
        # The stream ended early, or the connection broke.
        return PromptOutcome(prompt, ok=False)

    def _choose(self, language: str, station: str) -> None:
        outcome = self._choice_outcome(language, station)
        if station == self.station:
            self._put(outcome)

    def _choice_outcome(self, language: str, station: str) -> ChoiceOutcome:
        try:
            state = self._read_state()
            if state is None or state.phase == "waiting":
                response = self._http.post("/language", json={"language": language, "station": station, "join": True})
                if response.status_code != httpx.codes.OK:
                    return ChoiceOutcome(language, ok=False, refusal=_refusal_text(response))
                self._read_state()
        except (httpx.HTTPError, ValueError):
            return ChoiceOutcome(language, ok=False)
        return ChoiceOutcome(language, ok=True)

    def _report_typing(self, status: str, station: str) -> None:
        # A lost report does no harm, and the event stream notices an absent owner.
        with contextlib.suppress(httpx.HTTPError):
            self._http.post("/typing_event", json={"status": status, "station": station})


def _new_station() -> str:
    # A station's name grants access to its words, so it is unguessable and every visitor gets a new one.
    return f"window-{secrets.token_urlsafe(12)}"


def _station_event(name: str, data: dict[str, Any]) -> WindowEvent:
    station = str(data["station"])
    match name:
        case "prompt":
            return PromptReceived(station, data["text"])
        case "start":
            return AnswerStarted(station, data["iteration"])
        case "token":
            return TokenReceived(station, data["text"], data["probability"], data["entropy"], data["iteration"])
    return ResponseReceived(station, data["text"], data["iteration"])


def _refusal_text(response: httpx.Response) -> str:
    try:
        return Refusal.model_validate_json(response.content).error
    except ValueError:
        return f"HTTP {response.status_code}"
