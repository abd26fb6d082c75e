"""Every route of the owner and of inference with the message that it takes and what opens it.

A message that ends at a locked door is never read: most are sent with the key, or from a desk that is logged in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from wmkml.access.keys import load_keys
from wmkml.access.login_link import make_login_token
from wmkml.access.node_key import load_node_key
from wmkml.config.paths import Paths
from wmkml.protocol import autopsy, conversation, desk, events, inference, opening, original, training

Opener = Literal["", "stage", "worker", "operator", "node", "desk"]
"""Whose key opens a door; `desk`: a session of the desk; empty: nothing is asked for."""


@dataclass(frozen=True)
class Door:
    """A route and the message it takes.

    Attributes:
        path: `{text}` stands for any text.
        upsets: what it does may close other doors: the run ends, answers stop, keys and settings change.
        waits: it answers when there is something, and may take half a minute.
    """

    method: str
    path: str
    message: type[BaseModel] | None = None
    opener: Opener = ""
    upsets: bool = False
    waits: bool = False


_ROUND = "/worker/rounds/{text}/{text}/{text}"

OWNER_DOORS: tuple[Door, ...] = (
    Door("POST", "/chat", conversation.ChatRequest),
    Door("GET", "/station?station={text}&tokens={text}"),
    Door("POST", "/forget", conversation.ForgetRequest),
    Door("POST", "/card", conversation.CardRequest),
    Door("GET", "/state"),
    Door("GET", "/healthz"),
    Door("GET", "/metrics"),
    Door("GET", "/events?station={text}"),
    Door("GET", "/"),
    Door("GET", "/icon.svg"),
    Door("GET", "/assets/{text}"),
    Door("GET", "/{text}"),
    Door("GET", "/privacy"),
    Door("GET", "/imprint"),
    Door("GET", "/autopsy?key={text}"),
    Door("GET", "/autopsy/selves", opener="stage"),
    Door("POST", "/autopsy/answers", autopsy.AutopsyRequest, "stage"),
    Door("POST", "/autopsy/next", autopsy.NextTokensRequest, "desk"),
    Door("GET", "/stage?key={text}"),
    Door("GET", "/stage/runtime"),
    Door("GET", "/stage/runtime/fonts/{text}"),
    Door("GET", "/stage/recordings/{text}", opener="stage"),
    Door("POST", "/stage/sound", opening.SoundReport, "stage"),
    Door("GET", "/desk"),
    Door("GET", "/desk/door"),
    Door("GET", "/desk/enter?once={text}"),
    Door("POST", "/desk/login", desk.DeskLogin),
    Door("POST", "/desk/logout", opener="desk", upsets=True),
    Door("GET", "/desk/state", opener="desk"),
    Door("GET", "/desk/autopsy", opener="desk"),
    Door("GET", "/desk/doctor", opener="desk"),
    Door("GET", "/desk/diagnostics", opener="desk"),
    Door("GET", "/desk/words", opener="desk"),
    Door("GET", "/desk/reports", opener="desk"),
    Door("GET", "/desk/reports/{text}/{text}", opener="desk"),
    Door("GET", "/desk/archive?language={text}", opener="desk"),
    Door("POST", "/desk/remove_pair", desk.DeskPair, "desk"),
    Door("POST", "/desk/start", desk.DeskLanguage, "desk", upsets=True),
    Door("POST", "/desk/last_words", opener="desk", upsets=True),
    Door("POST", "/desk/rebirth", opener="desk", upsets=True),
    Door("POST", "/desk/skip", opener="desk"),
    Door("POST", "/desk/hold", desk.DeskHold, "desk", upsets=True),
    Door("POST", "/desk/dials", desk.DeskDialRequest, "desk", upsets=True),
    Door("POST", "/desk/osc_test", opener="desk"),
    Door("POST", "/desk/opening", opening.OpeningDecision, "desk", upsets=True),
    Door("POST", "/desk/panic", opening.PanicSwitch, "desk", upsets=True),
    Door("POST", "/desk/rotate", desk.DeskKey, "desk", upsets=True),
    Door("POST", "/desk/stage", events.StageEvent, "desk"),
    Door("GET", "/generate_gui"),
    Door("POST", "/generate_gui", original.GenerateGui),
    Door("POST", "/typing_event", original.TypingEvent),
    Door("POST", "/language", original.LanguageChoice, upsets=True),
    Door("POST", "/reload", original.ReloadRequest, "operator"),
    Door("POST", "/operator/start", original.LanguageChoice, "operator", upsets=True),
    Door("POST", "/operator/end", opener="operator", upsets=True),
    Door("GET", "/operator/pairs?words={text}", opener="operator"),
    Door("GET", "/operator/problems", opener="operator"),
    Door("POST", "/operator/opening", opening.OpeningDecision, "operator", upsets=True),
    Door("POST", "/operator/panic", opening.PanicSwitch, "operator", upsets=True),
    Door("POST", "/operator/stage", events.StageEvent, "operator"),
    Door("POST", "/worker/claim", training.Claim, "worker", waits=True),
    Door("POST", "/worker/unable", training.WorkerUnable, "worker"),
    Door("POST", f"{_ROUND}/step", training.StepReport, "worker"),
    Door("POST", f"{_ROUND}/hand_in", training.HandIn, "worker"),
    Door("POST", f"{_ROUND}/measures", training.ModelMeasures, "worker"),
    Door("POST", f"{_ROUND}/failed", training.RoundFailure, "worker"),
    Door("PUT", f"{_ROUND}/adapter", training.HandIn, "worker"),
    Door("GET", "/worker/adapters/{text}/{text}", opener="worker"),
    Door("GET", "/node/settings", opener="node"),
)

INFERENCE_DOORS: tuple[Door, ...] = (
    Door("POST", "/v1/chat/completions", inference.CompletionRequest, "operator"),
    Door("GET", "/v1/models", opener="operator"),
    Door("POST", "/reload", original.ReloadRequest, "operator"),
    Door("POST", "/language", original.LanguageChoice, upsets=True),
    Door("POST", "/current", inference.CurrentIteration, "operator"),
    Door("POST", "/unload", inference.UnloadRequest, "operator"),
    Door("GET", "/healthz"),
    Door("GET", "/osc", opener="operator"),
    Door("GET", "/metrics"),
)

DESK_COOKIES = ("desk", "autopsy")
"""Both hold the desk's session, each for its own paths."""


def opening_headers(paths: Paths, opener: Opener, session: str) -> dict[str, str]:
    """The headers that open a door with the keys that are valid now, since some messages replace them.

    Args:
        session: of the desk (`wmkml.siege.doors.session_path` opens one).

    Raises:
        KeysUnreadableError, OSError: the keys cannot be read.
    """
    if not opener:
        return {}
    if opener == "desk":
        return {"Cookie": "; ".join(f"{name}={session}" for name in DESK_COOKIES)}
    return {"X-Key": load_node_key(paths) if opener == "node" else getattr(load_keys(paths), opener)}


def session_path(paths: Paths) -> str:
    """A path of the owner that opens a session of the desk; the reply's cookie `desk` is the session.

    Raises:
        OSError: the data folder cannot be written.
    """
    return f"/desk/enter?once={make_login_token(paths)}"
