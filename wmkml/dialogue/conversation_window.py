"""The messages sent to the model: system prompt, the newest exchanges of a conversation, the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from wmkml.config import Inference

Exchange = tuple[str, str]
"""A prompt, and its answer as shown to the visitor."""


def window_length(inference: Inference, iteration: int) -> int:
    """The number of prompts the model sees while this iteration answers, including the current one."""
    late = iteration >= inference.context_length_switch
    return inference.late_num_context_messages if late else inference.num_context_messages


def chat_messages(
    inference: Inference, language: str, prompt: str, past: Sequence[Exchange] = ()
) -> list[dict[str, str]]:
    """System prompt, past exchanges (oldest first) and the prompt, as chat messages.

    Echoes, datasets and the persistent prompt are sent without past exchanges.
    """
    messages = [{"role": "system", "content": inference.system_prompts[language]}]
    for past_prompt, answer in past:
        messages += [{"role": "user", "content": past_prompt}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": prompt}]
