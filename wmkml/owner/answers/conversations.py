"""The chat messages sent to the model for a station: its conversation, as far as the window reaches.

Conversations are kept in the store only, so that they survive a restart and end with the run.
"""

from __future__ import annotations

from wmkml.config import Inference
from wmkml.decency.safeguards import Safeguards
from wmkml.dialogue.conversation_window import chat_messages, window_length
from wmkml.owner.run.live_run import LiveRun
from wmkml.protocol.inference import ChatMessage

SHARED_STATION = ""
"""The station of callers that name none."""


def standalone_messages(inference: Inference, language: str, prompt: str) -> list[ChatMessage]:
    """System prompt and prompt without a conversation: for echoes, datasets, cards and the persistent prompt."""
    return [ChatMessage.model_validate(message) for message in chat_messages(inference, language, prompt)]


def conversation_messages(
    inference: Inference, run: LiveRun, safeguards: Safeguards, station: str, prompt: str
) -> list[ChatMessage]:
    """System prompt, the station's newest exchanges within the window, and the prompt.

    Exchanges that are private are left out: the answer to this prompt is shown to a room, and would speak of them.
    """
    newest = window_length(inference, run.iteration) - 1
    exchanges = run.store.exchanges(station, newest=newest) if newest else []
    past = [(exchange.prompt, exchange.text) for exchange in exchanges if not safeguards.is_private(exchange.prompt)]
    language = run.language_of(station)
    return [ChatMessage.model_validate(message) for message in chat_messages(inference, language, prompt, past)]
