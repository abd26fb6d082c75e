"""What OSC carries of visitors' words where a word list is switched on for stage and OSC."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pythonosc.osc_message import OscMessage

from wmkml.config import Settings
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.decency.word_filter import WordFilter
from wmkml.dialogue.chat_template import load_tokenizer
from wmkml.engine.protocol import Adapter, Generation, Step
from wmkml.inference.adapter_registry import AdapterRegistry
from wmkml.inference.admission import Admission
from wmkml.inference.answering import Answering
from wmkml.inference.metrics import Metrics
from wmkml.protocol.inference import Audience, ChatMessage, CompletionRequest
from wmkml.protocol.osc import OscSender

ANSWER = "Du Quappenkopf, ein Haus. Quappen"


class ScriptedEngine:
    """An engine that answers everything with the same tokens."""

    name, window = "scripted", 512

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens

    async def generate(self, generation: Generation) -> AsyncIterator[Step]:
        for place, token in enumerate(self._tokens):
            is_last = place == len(self._tokens) - 1
            yield Step(token, -1.0, ((token, -1.0),), "length" if is_last else None)

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def load(self, adapter: Adapter) -> None:
        """Every adapter is there."""

    async def unload(self, adapter: Adapter) -> None:
        """It stays."""

    async def clear_prompt_cache(self) -> None:
        """There is none."""

    async def log_probabilities(self, tokens: object, adapter: Adapter | None) -> list[list[float]]:
        return []

    def alive(self) -> bool:
        return True


async def osc_of(folder: Path, words: WordFilter, audience: Audience) -> list[tuple[str, object]]:
    """Address and first value of every OSC message of one answer."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(0.2)
    osc = OscSender([receiver.getsockname()])
    tokenizer = load_tokenizer(SHIPPED_MODEL)
    engine = ScriptedEngine(tokenizer.encode(ANSWER, add_special_tokens=False))
    registry = AdapterRegistry(engine, folder)
    answering = Answering(Settings(), engine, tokenizer, registry, osc, Metrics(), Admission(1, 1), words=words)
    messages = [ChatMessage(role="user", content="Wer ist ein Qu4ppenkopf?")]
    prepared = answering.prepare(CompletionRequest(messages=messages, audience=audience))
    text = "".join([piece.text async for _, piece in answering.pieces(prepared)])
    assert text == ANSWER  # who asks gets what was said
    received = []
    try:
        while True:
            message = OscMessage(receiver.recv(65536))
            received.append((message.address, message.params[0]))
    except TimeoutError:
        return received
    finally:
        osc.close()
        receiver.close()


@pytest.mark.asyncio
async def test_neither_prompt_nor_tokens_nor_answer_repeat_a_word(tmp_path: Path) -> None:
    words = WordFilter(["quappenkopf"])
    messages = await osc_of(tmp_path, words, "visitor")
    assert messages[0] == ("/prompt", "Wer ist ein …?")
    tokens = [str(value) for address, value in messages if address == "/token"]
    assert "".join(tokens) == "Du …, ein Haus. Quappen"
    assert ("/response", "Du …, ein Haus.") in messages
    # Each token keeps its entropy beside it, and none is lost.
    addresses = [address for address, _ in messages]
    assert addresses.count("/token") == addresses.count("/entropy") > 8
    assert addresses[-2:] == ["/response", "/iteration"]


@pytest.mark.asyncio
async def test_without_a_list_osc_carries_the_words_as_they_are(tmp_path: Path) -> None:
    messages = await osc_of(tmp_path, WordFilter(()), "visitor")
    assert messages[0] == ("/prompt", "Wer ist ein Qu4ppenkopf?")
    assert ("/response", "Du Quappenkopf, ein Haus.") in messages


@pytest.mark.asyncio
async def test_an_answer_that_is_no_visitors_is_not_sent(tmp_path: Path) -> None:
    assert await osc_of(tmp_path, WordFilter(()), "api") == []
