"""The markup of chat templates, which neither prompts nor answers may contain."""

from __future__ import annotations

import re

CHAT_MARKUP = re.compile(
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|</?s>|<</?SYS>>|<\|[A-Za-z_]+\|>|</?(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>",
    re.IGNORECASE,
)
"""Markup of common chat templates, which no prompt may contain."""
