"""Messages to inference: the OpenAI protocol with an audience and a station, and the control of adapters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wmkml.protocol.base import Message

MAX_TOKENS = 1_000_000
"""More than any model's window: a larger number is refused instead of overflowing in an engine."""

MAX_BIASED_TOKENS = 300
"""As many tokens of a request may have a bias, as at OpenAI."""

MAX_ITERATION = 2**31 - 2
"""OSC counts from 1 in 32 bits."""

Audience = Literal["visitor", "echo", "dataset", "panel", "autopsy", "api", "measure"]
"""Whom an answer is for.  Only visitors' words go to OSC and the stage; `measure`: nobody reads it, it is measured."""

PRIORITIES: dict[str, int] = {
    "visitor": 0,
    "api": 1,
    "panel": 2,
    "autopsy": 5,
    "echo": 10,
    "dataset": 10,
    "measure": 20,
}
"""Scheduling priority of each audience in the engine; a smaller number is served first."""

DIGEST_PREFIX = "sha256:"

BASE_ITERATION = -1
"""The iteration of the untouched base model, before any round."""


NodeStatus = Literal["away", "joining", "answers", "refused"]


class NodeState(Message):
    """One of `inference.nodes` as inference sees it; part of `/healthz`, of RunState and of DeskState.

    `joining`: it loads its model or is given the adapters; `refused`: it must not answer, and `reason` says why.
    `answers`: how many are under way there.
    """

    address: str
    state: NodeStatus
    reason: str
    answers: int


class NodeSettings(Message):
    """`GET :8000/node/settings`, with the node key: what a node must have in common with the head, and nothing secret.

    `fingerprint`: of the model's folder (`wmkml.models.fingerprint`).  The others as in `config.yaml`.
    """

    model_name: str
    fingerprint: str
    num_total_iters: int
    lora_r: int
    lora_target_modules: list[str]
    max_model_len: int
    dtype: str


class CurrentIteration(Message):
    """`POST :8011/current`: this iteration answers from now on (−1: the base model).  Inference sends it to OSC."""

    iteration: Annotated[int, Field(ge=-1, le=MAX_ITERATION)]


class UnloadRequest(Message):
    """`POST :8011/unload`: unload these iterations' adapters; null: all.

    Their requests under way are aborted first.
    """

    iterations: list[int] | None = None


class ChatMessage(BaseModel):
    """One message of the OpenAI protocol; text content only."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str


class CompletionRequest(BaseModel):
    """`POST :8011/v1/chat/completions`: the OpenAI protocol with fields of our own.

    `audience`, `station`: whom the answer is for.  `answer_ids`: the answer begins with these tokens, and the reply holds
    what comes after them; penalties count the new tokens alone.  `return_token_ids`: each entry under `logprobs` and
    `top_logprobs` says its token's id, each token its rank in the raw distribution (null where the engine does not tell),
    and the end token has an entry too.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model: str = "current"
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=64)] = 1
    stop: str | list[str] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    logit_bias: (
        Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=MAX_BIASED_TOKENS)] | None
    ) = None
    answer_ids: Annotated[list[Annotated[int, Field(strict=True, ge=0)]], Field(max_length=MAX_TOKENS)] | None = None
    return_token_ids: bool = False
    audience: Audience = "api"
    station: str | None = None


class OscSent(Message):
    """`GET :8011/osc`, and part of DeskState: the last OSC message to an address; `at` in seconds since 1970.

    `values` is empty for addresses that carry words.
    """

    address: str
    at: float
    values: list[str | int | float]


def model_name(iteration: int, base: str) -> str:
    """An iteration's model name on :8011, such as `iteration-3`; the base model keeps its own name, `base`."""
    return base if iteration < 0 else f"iteration-{iteration}"


def fingerprint(sha256: str) -> str:
    """The `system_fingerprint` of every answer: which weights made it.  `sha256`: of the adapter's; empty: the base model."""
    return f"{DIGEST_PREFIX}{sha256}" if sha256 else "base"


def digest_of(fingerprint: str) -> str:
    """The adapter's sha256 in a `system_fingerprint`; empty for the base model and for other services' fingerprints."""
    return fingerprint.removeprefix(DIGEST_PREFIX) if fingerprint.startswith(DIGEST_PREFIX) else ""
