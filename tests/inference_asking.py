"""What the tests of a running inference ask of it, and how they read its answer."""

from __future__ import annotations

from typing import Any

import httpx

ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "A language"}],
    "temperature": 0,
    "frequency_penalty": -2,
}
"""What was said once is likelier ever after: the base model's answer to this goes on until its length."""


def text(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])
