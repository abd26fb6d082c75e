"""A request that the tests of a running inference send, and how they read the text of an answer."""

from __future__ import annotations

from typing import Any

import httpx

ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "A language"}],
    "temperature": 0,
    "frequency_penalty": -2,
}
"""With the negative penalty repeated tokens become likelier: the base model's answer goes on until `max_tokens`."""


def text(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])
