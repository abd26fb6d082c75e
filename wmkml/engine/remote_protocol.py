"""The part of `vllm serve`'s HTTP protocol that a remote engine speaks: requests for completions, and the reading of replies.

`prompt` is token ids, and so are the tokens of a reply ("token_id:17"); `logit_bias`, `stop_token_ids`, `ignore_eos`,
`priority` and `prompt_logprobs` mean what they mean in vLLM.  Read in vLLM 0.32.0, and tried against its server on a CPU.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wmkml.engine.protocol import TOP_LOGPROBS, EngineDiedError, Generation, LogProbabilitiesUnavailableError, Step

if TYPE_CHECKING:
    import httpx  # the laboratory is installed without it

PROBE_PRIORITY = 1
"""Of a probe: behind visitors' prompts, before everything in the background, since a swap waits for it."""

TOKEN_PREFIX = "token_id:"
"""What stands before a token's id in a reply."""

NAME_PLACE = "{name}"


class ProtocolError(RuntimeError):
    """The other side does not speak this protocol.  The text is a sentence for the operator."""


@dataclass(frozen=True)
class Deployment:
    """Where an engine is asked, and how adapters get there.

    Attributes:
        url: without `/v1`.
        key: sent as a bearer token; empty: none.
        model: the base model's name there; empty: the first that it lists.
        label: begins the name of every adapter of this installation, and of no other's.
        uploads: adapters are sent as archives (a node of ours), not named by a path.
        folder_here, folder_there: a path of an adapter begins there with the second instead of the first; both empty: the
            same paths are valid there.
        name_pattern: an adapter's model name there, with `{name}` for its own; `{name}` alone for vLLM.
        through_proxy: whether the proxy of the environment is used.
    """

    url: str
    key: str = ""
    model: str = ""
    label: str = "wmkml"
    uploads: bool = False
    folder_here: str = ""
    folder_there: str = ""
    name_pattern: str = NAME_PLACE
    through_proxy: bool = False

    @property
    def loads_by_folder(self) -> bool:
        """Whether an adapter is found there by the name of its folder (Ray Serve), and not by a name of ours."""
        return self.name_pattern != NAME_PLACE

    def path_there(self, path: Path) -> str:
        """The path of an adapter's folder as the deployment sees it."""
        if self.folder_there and path.is_relative_to(self.folder_here):
            return str(Path(self.folder_there) / path.relative_to(self.folder_here))
        return str(path)

    def full_name(self, name: str) -> str:
        """The model name there of an adapter of this name."""
        return self.name_pattern.replace(NAME_PLACE, name)

    def bare_name(self, name: str) -> str:
        """The name of an adapter whose model name there is `name`."""
        before, _, after = self.name_pattern.partition(NAME_PLACE)
        return name.removeprefix(before).removesuffix(after)


def stream_request(generation: Generation, model: str, ends: Sequence[int]) -> dict[str, Any]:
    """The body of a request for one answer, token by token."""
    sampling = generation.sampling
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(generation.prompt),
        "stream": True,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        # Without any there would be no ids of tokens either.
        "logprobs": TOP_LOGPROBS if generation.with_logprobs else 1,
        "return_tokens_as_token_ids": True,
        "stop_token_ids": list(ends),
        "ignore_eos": True,
        "skip_special_tokens": False,
        "priority": generation.priority,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.bias:
        body["logit_bias"] = {str(token): value for token, value in sampling.bias}
    return body


def probe_request(model: str, tokens: Sequence[int], priority: int | None) -> dict[str, Any]:
    """The body of a request for the log-probabilities of `tokens[1:]`; priority None: the deployment has none."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": list(tokens),
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
        "logprobs": 1,
        "return_tokens_as_token_ids": True,
        "ignore_eos": True,
    }
    return body if priority is None else {**body, "priority": priority}


def read_probe_reply(reply: httpx.Response, tokens: Sequence[int]) -> list[list[float]] | None:
    """The log-probabilities of `tokens[1:]` by each copy that the reply tells of; None where they are not finite.

    Raises:
        ProtocolError: tokens come back as texts, from which their ids cannot be told, or it is no completion at all.
        LogProbabilitiesUnavailableError: the deployment does not give them.
    """
    try:
        return _read_probe(reply.json(), tokens)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ProtocolError(f"The deployment sends what is no completion ({type(error).__name__}).") from None


def _read_probe(body: Any, tokens: Sequence[int]) -> list[list[float]] | None:
    [choice] = body["choices"]
    names = (choice.get("logprobs") or {}).get("tokens") or []
    if not names or not str(names[0]).startswith(TOKEN_PREFIX):
        raise ProtocolError(
            "The deployment does not give token ids (return_tokens_as_token_ids): it is no vLLM, or too old."
        )
    entries = choice.get("prompt_logprobs")
    if not isinstance(entries, list) or len(entries) != len(tokens):
        raise LogProbabilitiesUnavailableError
    values = [entry[str(token)]["logprob"] for token, entry in zip(tokens[1:], entries[1:], strict=True)]
    # A node tells of all its copies.
    copies: list[list[float]] = choice.get("copies") or [values]
    if any(value is None or not math.isfinite(value) for copy in copies for value in copy):
        return None
    return copies


def steps_of(line: str) -> Iterator[Step]:
    """The steps in one line of a stream of events; none in a line that carries no token.

    Raises:
        EngineDiedError: the stream says that the model failed, or its numbers are not finite.
        ProtocolError: the line is not of this protocol.
    """
    data = line.removeprefix("data:").strip()
    if not line.startswith("data:") or data == "[DONE]":
        return
    try:
        chunk = json.loads(data)
        if "error" in chunk:
            raise EngineDiedError("The deployment ended an answer with an error.")
        for choice in chunk["choices"]:
            yield from _steps_of_choice(choice)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"The deployment sends what is no completion ({type(error).__name__}).") from None


def _steps_of_choice(choice: dict[str, Any]) -> Iterator[Step]:
    logprobs = choice.get("logprobs") or {}
    names, values, tops = (logprobs.get(key) or [] for key in ("tokens", "token_logprobs", "top_logprobs"))
    last = len(names) - 1
    for place, (name, value, top) in enumerate(zip(names, values, tops, strict=True)):
        if value is None or not math.isfinite(value):
            raise EngineDiedError("The model yields numbers that are not finite.")
        ranked = sorted(top.items(), key=lambda item: -item[1])[:TOP_LOGPROBS]
        likeliest = tuple((_token_id(candidate), float(logprob)) for candidate, logprob in ranked)
        yield Step(_token_id(name), float(value), likeliest, _finish(choice) if place == last else None)


def _finish(choice: dict[str, Any]) -> Literal["stop", "length"] | None:
    reason = choice.get("finish_reason")
    if reason in (None, "stop", "length"):
        finish: Literal["stop", "length"] | None = reason
        return finish
    raise EngineDiedError("The deployment broke an answer off.")


def _token_id(name: str) -> int:
    if not name.startswith(TOKEN_PREFIX):
        raise ValueError(name)
    return int(name.removeprefix(TOKEN_PREFIX))


def sentence_of(reply: httpx.Response) -> str:
    """What a refusal says, in at most 300 characters."""
    try:
        body = reply.json()
    except ValueError:
        return f"status {reply.status_code}"
    error = body.get("error", body.get("detail", "")) if isinstance(body, dict) else ""
    text = error.get("message", "") if isinstance(error, dict) else error
    return f"status {reply.status_code}: {str(text)[:300]}" if text else f"status {reply.status_code}"
