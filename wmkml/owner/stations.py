"""What is sent to the model for a station: its conversation, as much of it as the window lets through.

Conversations live in the store alone, so that they survive a restart and end with the run.
"""

from __future__ import annotations

from wmkml.config import Inference
from wmkml.conversation import messages, window
from wmkml.owner.live_run import LiveRun
from wmkml.wire import ChatMessage

SHARED = ""
"""The station of callers that name none."""


def alone(inference: Inference, language: str, prompt: str) -> list[ChatMessage]:
    """System prompt and prompt, no conversation: what echoes, datasets and the persistent prompt are asked with."""
    return [ChatMessage.model_validate(message) for message in messages(inference, language, prompt)]


def conversation(inference: Inference, run: LiveRun, station: str, prompt: str) -> list[ChatMessage]:
    """System prompt, the station's newest exchanges within the window, and the prompt."""
    newest = window(inference, run.iteration) - 1
    past = [(one.prompt, one.text) for one in run.store.exchanges(station, newest=newest)] if newest else []
    told = messages(inference, run.language_of(station), prompt, past)
    return [ChatMessage.model_validate(message) for message in told]
