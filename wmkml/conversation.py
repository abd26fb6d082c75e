"""What is sent to the model: the language's system prompt, as much of a conversation as the window lets through, the prompt.

Knows the settings alone; where conversations are kept is the business of whoever has them.
"""

from __future__ import annotations

from collections.abc import Sequence

from wmkml.config import Inference

Exchange = tuple[str, str]
"""A prompt, and the answer as it was shown."""


def window(inference: Inference, iteration: int) -> int:
    """How many prompts the model sees while this iteration answers, the one being asked included."""
    late = iteration >= inference.context_length_switch
    return inference.late_num_context_messages if late else inference.num_context_messages


def messages(inference: Inference, language: str, prompt: str, past: Sequence[Exchange] = ()) -> list[dict[str, str]]:
    """System prompt, exchanges that are past, and the prompt, as chat messages.

    Without exchanges it is what echoes, datasets and the persistent prompt are asked with.
    """
    told = [{"role": "system", "content": inference.system_prompts[language]}]
    for asked, answered in past:
        told += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return [*told, {"role": "user", "content": prompt}]
