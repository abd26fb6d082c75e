"""What is sent to the model: a station's conversation, as much of it as the window lets through.

Conversations live in the store alone, so that they survive a restart and end with the run.
"""

from __future__ import annotations

from wmkml.config import Inference
from wmkml.owner.live_run import LiveRun
from wmkml.wire import ChatMessage

SHARED = ""
"""The station of callers that name none."""


def window(inference: Inference, iteration: int) -> int:
    """How many prompts the model sees while this iteration answers, the one being asked included."""
    late = iteration >= inference.context_length_switch
    return inference.late_num_context_messages if late else inference.num_context_messages


def alone(inference: Inference, language: str, prompt: str) -> list[ChatMessage]:
    """System prompt and prompt, no conversation: what echoes, datasets and the persistent prompt are asked with."""
    return [
        ChatMessage(role="system", content=inference.system_prompts[language]),
        ChatMessage(role="user", content=prompt),
    ]


def conversation(inference: Inference, run: LiveRun, station: str, prompt: str) -> list[ChatMessage]:
    """System prompt, the station's newest exchanges within the window, and the prompt."""
    system, asked = alone(inference, run.language_of(station), prompt)
    past = window(inference, run.iteration) - 1
    messages = [system]
    for exchange in run.store.exchanges(station, newest=past) if past else []:
        messages += [
            ChatMessage(role="user", content=exchange.prompt),
            ChatMessage(role="assistant", content=exchange.text),
        ]
    return [*messages, asked]
