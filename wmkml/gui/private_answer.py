"""An answer that only the window's own visitor sees, with a line of help: it is read from the answer's own stream.

The window takes every other answer, its own station's as well, from the owner's event stream, which carries no such one.
"""

from __future__ import annotations

from collections.abc import Callable

from wmkml.gui.events import AnswerStarted, HelpOffered, PromptReceived, ResponseReceived, TokenReceived, WindowEvent
from wmkml.protocol.conversation import ChatEnd, ChatStart, ChatToken


class PrivateAnswer:
    """Turns the events of `POST /chat` into the window's, from a `start` with a line of help on; without one into nothing."""

    def __init__(self, station: str, prompt: str, put: Callable[[WindowEvent], None]) -> None:
        self._station, self._prompt, self._put = station, prompt, put
        self._start: ChatStart | None = None

    def receive(self, event: str, data: str) -> None:
        """One event of the stream.

        Raises:
            ValueError: it is not of the form of its kind.
        """
        if event == "start":
            self._begin(ChatStart.model_validate_json(data))
        elif self._start is not None and event == "token":
            token = ChatToken.model_validate_json(data)
            self._put(TokenReceived(self._station, token.text, token.probability, token.entropy, self._start.iteration))
        elif self._start is not None and event == "end":
            end = ChatEnd.model_validate_json(data)
            self._put(ResponseReceived(self._station, end.text, end.iteration))
            self._put(HelpOffered(self._station, self._start.help))

    def _begin(self, start: ChatStart) -> None:
        if not start.help:
            return
        if self._start is None:
            self._put(PromptReceived(self._station, self._prompt))
        self._start = start
        self._put(AnswerStarted(self._station, start.iteration))
