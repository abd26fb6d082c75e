"""Tells the world what happens in a run: each thing once, to OSC, to the event stream and to the log, in one place.

The only place of the owner that names OSC addresses and events.  Decides nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from wmkml.collapse.texts import distinct_n, repetition
from wmkml.osc import OscSender
from wmkml.owner.events import Hub
from wmkml.owner.inference_client import Token, mean
from wmkml.owner.telling import (
    IterationTold,
    NoticeTold,
    PromptTold,
    ResponseTold,
    RuntimeTold,
    RunTold,
    StageTold,
    TokenTold,
    TypingTold,
)
from wmkml.runs.schema import Round
from wmkml.wire import RunState, SwapEvent

log = logging.getLogger(__name__)

NOTICES = 20


class Herald:
    """OSC, events and notices."""

    def __init__(self, osc: OscSender, hub: Hub, state: Callable[[], RunState], log_words: bool) -> None:
        self._osc, self._hub, self._state, self._log_words = osc, hub, state, log_words
        self._beats = 0
        self._tests = 0
        self.blank = False
        self.notices: deque[str] = deque(maxlen=NOTICES)
        self._stage_problems: list[str] = []
        self.noticed: dict[str, float] = {}
        """When each of them was noticed last, in seconds since 1970."""

    # --- the run ---------------------------------------------------------------------------------------------------

    def waiting(self) -> None:
        """A language is awaited."""
        self._osc.send("/wait_for_language", 1)
        self.state()

    def begun(self, run: str, language: str) -> None:
        """A run has begun."""
        log.info("Run %s begins in %s.", run, language)
        self._osc.send("/wait_for_language", 0)
        self._hub.publish("run_started", RunTold(run=run, language=language))
        self.state()

    def last_words(self, run: str, language: str) -> None:
        """The last round is over; one may still talk."""
        log.info("Run %s: last words.", run)
        self._hub.publish("last_words", RunTold(run=run, language=language))
        self.state()

    def ended(self, run: str, language: str) -> None:
        """The run is over; nothing of it is kept for those who come back to the event stream."""
        log.info("Run %s is over.", run)
        self._osc.send("/run_end", 1)
        self._hub.forget()
        self._hub.publish("run_end", RunTold(run=run, language=language))

    def reborn(self) -> None:
        """The language is reborn: what is shown may start over."""
        self._osc.send("/request_restart", 1)

    def state(self) -> None:
        """The state of the run has changed."""
        self._hub.publish("state", self._state())

    def heartbeat(self) -> None:
        """The owner lives; time goes by."""
        self._beats = (self._beats + 1) % 2**31
        self._osc.send("/heartbeat", self._beats)
        state = self._state()
        if state.time_left_seconds is not None:
            self._osc.send("/time_left", state.time_left_seconds)
        self._hub.publish("state", state)

    def notice(self, text: str) -> None:
        """Something the operator should know; never holds a visitor's word."""
        log.warning("%s", text)
        if text not in self.notices:
            self.notices.append(text)
        self.noticed = {one: when for one, when in self.noticed.items() if one in self.notices} | {text: time.time()}
        self._hub.publish("notice", NoticeTold(text=text))

    def stage(self, blank: bool) -> None:
        """Blank the projection, also one that is opened later, or show it again."""
        self.blank = blank
        self._hub.stand("stage", StageTold(blank=blank), stands=blank)

    def stage_runtime(self, version: int, problems: list[str]) -> None:
        """What the projection is made from was saved; mended problems need no operator any more."""
        for mended in [text for text in self._stage_problems if text not in problems and text in self.notices]:
            self.notices.remove(mended)
        for text in problems:
            if text not in self._stage_problems:
                self.notice(text)
        self._stage_problems = problems
        self._hub.publish("stage_runtime", RuntimeTold(version=version, problems=problems))

    def test_osc(self) -> int:
        """Send what can be told from everything else; returns the number that it carries."""
        self._tests += 1
        self._osc.send("/test", self._tests)
        return self._tests

    # --- rounds ----------------------------------------------------------------------------------------------------

    def round_begins(self, one: Round, elapsed: float, newest: list[tuple[str, float | None]]) -> dict[str, float]:
        """A round begins; returns the measures of the newest answers that were sent."""
        log.info("Round %d begins: %d samples, learning rate %g.", one.iteration, len(one.pairs), one.learning_rate)
        self._osc.send("/elapsed_time", elapsed)
        self._osc.send("/learning_rate", one.learning_rate)
        self._osc.send("/round/progress", 0.0)
        texts = [text for text, _ in newest]
        measures = {"distinct_2": distinct_n(texts), "repetition": repetition(texts)}
        entropy = mean([value for _, value in newest if value is not None])
        if entropy is not None:
            measures["entropy"] = entropy
        for name, value in measures.items():
            self._osc.send(f"/collapse/{name}", value)
        self.round(one)
        return measures

    def round(self, one: Round) -> None:
        """A round has changed."""
        self._hub.publish("round", one.record())

    def step(self, one: Round) -> None:
        """An optimizer step was made."""
        if one.loss is not None:
            self._osc.send("/loss", one.step, one.loss)
        if one.steps:
            self._osc.send("/round/progress", min(1.0, one.step / one.steps))
        self.round(one)

    def swapped(self, swap: SwapEvent) -> None:
        """A new adapter answers.  Inference itself tells OSC."""
        log.info(
            "Iteration %d answers (swap %.3f s, held %.1f s).", swap.iteration, swap.swap_seconds, swap.held_seconds
        )
        self._hub.publish("swap", swap)
        self.state()

    # --- words -----------------------------------------------------------------------------------------------------

    def prompt(self, station: str, text: str) -> None:
        """A visitor asks.  Inference itself tells OSC of prompts, tokens and answers."""
        if self._log_words:
            log.info("Prompt: %s", text)
        self._hub.publish("prompt", PromptTold(station=station, text=text), station)

    def answer_begins(self, station: str, iteration: int, restarted: bool) -> None:
        """An answer begins, or begins again because inference broke off."""
        self._hub.publish("start", IterationTold(station=station, iteration=iteration, restarted=restarted), station)

    def token(self, station: str, token: Token, iteration: int) -> None:
        """One token of a visitor's answer."""
        told = TokenTold(
            station=station,
            text=token.text,
            probability=token.probability,
            entropy=token.entropy,
            iteration=iteration,
        )
        self._hub.publish("token", told, station)

    def response(self, station: str, text: str, iteration: int) -> None:
        """A visitor's whole answer, cut at the end of a sentence."""
        if self._log_words:
            log.info("Answer of iteration %d: %s", iteration, text)
        self._hub.publish("response", ResponseTold(station=station, text=text, iteration=iteration), station)

    def typing(self, station: str, status: str) -> None:
        """A visitor types, or stopped."""
        self._osc.send("/user_activity", status)
        self._hub.publish("typing", TypingTold(station=station, status=status), station)
