"""Services of this installation are asked directly, whatever proxy the environment names: behind one nobody would answer."""

from __future__ import annotations

import ast
from pathlib import Path

from wmkml.config.paths import PROJECT

ASKS = {"AsyncClient", "Client", "get", "post", "put", "request", "stream", "delete"}
"""What of httpx asks; it takes the environment's proxies unless it is given `trust_env`."""

OUTSIDE = {"wmkml/owner/problems/calls.py": "addresses of the operator's choice, out on the network"}
"""Modules that ask what is no part of the installation."""


def asks_by_a_proxy(path: Path) -> list[int]:
    """The lines in which a module asks over HTTP, and leaves it to the environment by what way."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr in ASKS) == ("httpx", True)
        and not any(keyword.arg in ("trust_env", "transport") for keyword in node.keywords)
    ]


def test_only_what_is_outside_is_asked_by_a_proxy() -> None:
    by_a_proxy = {
        str(path.relative_to(PROJECT)): lines
        for folder in ("wmkml", "benchmarks")
        for path in (PROJECT / folder).rglob("*.py")
        if (lines := asks_by_a_proxy(path))
    }
    assert by_a_proxy.keys() == OUTSIDE.keys(), by_a_proxy
