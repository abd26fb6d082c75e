"""The window's ear and mouth: listens to the owner's events and posts what is said, each in a thread of its own.

Everything heard is put into one queue as `News`.  Survives the owner: it connects again, with a pause, for as long as it
lives.  Knows no Tk, and nothing of how news are shown.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import httpx_sse

from wmkml import wire

RETRY_SECONDS = 1.0
# The owner's keep-alive comments come more often; a machine that was unplugged says nothing at all.
SILENCE_SECONDS = 60.0
# A prompt is held while the engine starts anew, which takes minutes for a large model.
ANSWER_SECONDS = 600.0


@dataclass(frozen=True)
class Connection:
    """The owner answers (`there`) or is away; `everybody` when every station's words are heard, not only the window's."""

    there: bool
    everybody: bool = False


@dataclass(frozen=True)
class Prompt:
    """Somebody said something at a station."""

    station: str
    text: str


@dataclass(frozen=True)
class Start:
    """The answer to a station begins, or begins anew: its tokens so far are void."""

    station: str


@dataclass(frozen=True)
class Token:
    """One token of the answer to a station, with its probability from 0 to 1."""

    station: str
    text: str
    probability: float
    iteration: int


@dataclass(frozen=True)
class Response:
    """The answer to a station is complete; `text` is what is kept of it."""

    station: str
    text: str
    iteration: int


@dataclass(frozen=True)
class Answered:
    """What the window asked is answered, or was refused with a sentence; `None`: the connection broke."""

    prompt: str
    ok: bool
    refusal: str | None = None


@dataclass(frozen=True)
class Chosen:
    """The language that was chosen is spoken now, or was refused with a sentence; `None`: the owner is away."""

    language: str
    ok: bool
    refusal: str | None = None


News = Connection | wire.RunState | wire.RoundRecord | Prompt | Start | Token | Response | Answered | Chosen


class OwnerClient:
    """Speaks to the owner at `address` (as `http://127.0.0.1:8000`) and puts what it hears into `news`.

    `stage_key` is asked at every connection, since the owner makes the key file at its first start; `None` means that
    the file cannot be read, and then only the window's own words are heard.
    """

    def __init__(self, address: str, stage_key: Callable[[], str | None], news: queue.Queue[News]) -> None:
        self._stage_key, self._news = stage_key, news
        # Who knows a station's name may read its words: nobody else knows this one, and every start has its own.
        self.station = f"window-{secrets.token_urlsafe(12)}"
        self._closed = threading.Event()
        # No proxy of the environment stands between this machine and itself.
        self._http = httpx.Client(base_url=address, trust_env=False, timeout=httpx.Timeout(10, read=SILENCE_SECONDS))

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread(self._listen)

    def close(self) -> None:
        """Say nothing any more; threads that wait for the owner end with the process."""
        self._closed.set()

    def ask(self, prompt: str, language: str | None) -> None:
        """Say something at the window's station.  The answer comes as events; `Answered` tells how it ended."""
        self._thread(lambda: self._ask(prompt, language))

    def choose(self, language: str) -> None:
        """Start a run in this language if one is awaited, else join the run that lives.  `Chosen` tells how it ended."""
        self._thread(lambda: self._choose(language))

    def typing(self, status: str) -> None:
        """Tell that somebody is `typing`, or has `stopped`."""
        self._thread(lambda: self._typing(status))

    def _thread(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _tell(self, news: News) -> None:
        if not self._closed.is_set():
            self._news.put(news)

    # --- listening ---

    def _listen(self) -> None:
        key = self._stage_key()
        while not self._closed.is_set():
            try:
                status = self._hear(key)
            except (httpx.TransportError, httpx_sse.SSEError):
                status = 0
            self._tell(Connection(there=False))
            # A key the owner does not take is no reason to see nothing: the window's own words need none.
            key = None if status in (401, 403) else self._stage_key()
            self._closed.wait(RETRY_SECONDS)

    def _hear(self, key: str | None) -> int:
        headers = {"X-Key": key} if key else {}
        parameters = {} if key else {"station": self.station}
        with httpx_sse.connect_sse(self._http, "GET", "/events", headers=headers, params=parameters) as source:
            if source.response.status_code != httpx.codes.OK:
                return source.response.status_code
            self._tell(Connection(there=True, everybody=key is not None))
            self._read_state()
            for event in source.iter_sse():
                self._understand(event)
                if self._closed.is_set():
                    break
        return 0

    def _understand(self, event: httpx_sse.ServerSentEvent) -> None:
        match event.event:
            case "state":
                self._tell(wire.RunState.model_validate_json(event.data))
            case "round":
                self._tell(wire.RoundRecord.model_validate_json(event.data))
            case "prompt":
                data = json.loads(event.data)
                self._tell(Prompt(data["station"], data["text"]))
            case "start":
                self._tell(Start(json.loads(event.data)["station"]))
            case "token":
                data = json.loads(event.data)
                self._tell(Token(data["station"], data["text"], data["probability"], data["iteration"]))
            case "response":
                data = json.loads(event.data)
                self._tell(Response(data["station"], data["text"], data["iteration"]))
            case "swap" | "run_started" | "last_words" | "run_end":
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

    def _ask(self, prompt: str, language: str | None) -> None:
        request = wire.ChatRequest(prompt=prompt, station=self.station, language=language)
        patience = httpx.Timeout(10, read=ANSWER_SECONDS)
        body = request.model_dump(exclude_none=True)
        try:
            with self._http.stream("POST", "/chat", json=body, timeout=patience) as reply:
                if reply.status_code != httpx.codes.OK:
                    reply.read()
                    return self._tell(Answered(prompt, ok=False, refusal=_sentence(reply)))
                for event in httpx_sse.EventSource(reply).iter_sse():
                    if event.event == "error":
                        refusal = wire.Refusal.model_validate_json(event.data).error
                        return self._tell(Answered(prompt, ok=False, refusal=refusal))
                    if event.event == "end":
                        return self._tell(Answered(prompt, ok=True))
        except (httpx.TransportError, httpx_sse.SSEError):
            pass  # told below, like a stream that stops before its end
        self._tell(Answered(prompt, ok=False))

    def _choose(self, language: str) -> None:
        try:
            state = self._read_state()
            if state is None or state.phase == "waiting":
                reply = self._http.post("/language", json={"language": language, "station": self.station, "join": True})
                if reply.status_code != httpx.codes.OK:
                    return self._tell(Chosen(language, ok=False, refusal=_sentence(reply)))
                self._read_state()
        except httpx.TransportError:
            return self._tell(Chosen(language, ok=False))
        self._tell(Chosen(language, ok=True))

    def _typing(self, status: str) -> None:
        # When the owner is away the listener tells so; nothing is lost with this message.
        with contextlib.suppress(httpx.TransportError):
            self._http.post("/typing_event", json={"status": status, "station": self.station})


def _sentence(reply: httpx.Response) -> str:
    try:
        return wire.Refusal.model_validate_json(reply.content).error
    except ValueError:
        return f"HTTP {reply.status_code}"
