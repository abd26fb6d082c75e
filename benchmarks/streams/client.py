"""A client of OpenAI-compatible servers, in a process of its own: so many streams at a time, each asking again when it ends.

It reads commands from its standard input, a line of JSON each, and answers each with a line of JSON:

    {"port": 8011, "streams": 16, "bodies": [{…}, …], "background": [{…}]}
    → {"tokens": 1234, "seconds": 5.6, "first_token": [0.1, …]}

What is in `background` is asked all the while, again and again, and counts for nothing.

It parses no more of a stream than it must, since it runs on the cores of the server that is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

ENVELOPE = b'"content":"'


async def ask(port: int, body: dict[str, Any]) -> tuple[int, float]:
    """Tokens of one streamed answer, and seconds to its first one.

    Raises:
        RuntimeError: the server refused, or ended the stream without its usage.
    """
    content = json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}}).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + content)
    first, usage = None, b""
    status = await reader.readline()
    while line := await reader.readline():
        if first is None and _has_text(line):
            first = time.perf_counter() - began
        if b'"usage":{' in line:
            usage = line
    writer.close()
    if b" 200 " not in status or not usage:
        raise RuntimeError(f"the server on port {port} answered {status.decode().strip()}, and gave no usage")
    tokens = int(json.loads(usage.partition(b":")[2])["usage"]["completion_tokens"])
    # An answer may be nothing but its end.
    return tokens, time.perf_counter() - began if first is None else first


def _has_text(line: bytes) -> bool:
    place = line.find(ENVELOPE)
    return place >= 0 and line[place + len(ENVELOPE) : place + len(ENVELOPE) + 1] != b'"'


async def follow(
    port: int, streams: int, bodies: list[dict[str, Any]], background: list[dict[str, Any]]
) -> dict[str, Any]:
    """Ask everything in `bodies`, `streams` at a time, while all of `background` is asked again and again."""
    left, answers = list(bodies), []

    async def repeat(body: dict[str, Any]) -> None:
        while True:
            await ask(port, body)

    async def stream() -> None:
        while left:
            answers.append(await ask(port, left.pop()))

    beside = [asyncio.create_task(repeat(body)) for body in background]
    began = time.perf_counter()
    await asyncio.gather(*(stream() for _ in range(streams)))
    seconds = time.perf_counter() - began
    for task in beside:
        task.cancel()
    failed = [
        result for result in await asyncio.gather(*beside, return_exceptions=True) if isinstance(result, Exception)
    ]
    if failed:
        raise failed[0]
    return {
        "tokens": sum(tokens for tokens, _ in answers),
        "seconds": seconds,
        "first_token": [first for _, first in answers],
    }


if __name__ == "__main__":
    for command in sys.stdin:
        print(json.dumps(asyncio.run(follow(**json.loads(command)))), flush=True)
