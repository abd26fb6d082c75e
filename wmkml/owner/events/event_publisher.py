"""Publishes the events of a run to OSC, to the event stream and to the log.

The one place of the owner that names OSC addresses and events.  Prompts, tokens, answers and swaps are sent to OSC by
inference itself.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from wmkml.measures.registry import TABLE, measure_answers
from wmkml.measures.rolling import RollingMeasures
from wmkml.owner.events.event_hub import EventHub
from wmkml.owner.inference.client import AnswerToken
from wmkml.protocol.desk import DeskNotice
from wmkml.protocol.events import (
    AnswerStartEvent,
    ForgottenEvent,
    LifeEvent,
    NoticeEvent,
    PromptEvent,
    ResponseEvent,
    RollingEvent,
    RunEvent,
    StageEvent,
    StageRuntimeEvent,
    TokenEvent,
    TypingEventData,
)
from wmkml.protocol.opening import OpeningState
from wmkml.protocol.osc import OscSender
from wmkml.protocol.run_state import IterationMeasures, RunState, SwapEvent
from wmkml.runs.schema import Round

log = logging.getLogger(__name__)

MAX_NOTICES = 20
"""How many notices are kept for the operator; the oldest goes first."""


class EventPublisher:
    """Sends OSC messages and events, and keeps the operator's notices and whether the stage is blank."""

    def __init__(self, osc: OscSender, hub: EventHub, state: Callable[[], RunState], log_words: bool) -> None:
        """`state`: returns the run's public state; `log_words`: whether visitors' words are logged."""
        self._osc, self._hub, self._state, self._log_words = osc, hub, state, log_words
        self._heartbeats = 0
        self._osc_tests = 0
        self.measures: dict[str, float] = {}
        """Of the newest answers, taken at the start of the current round, by name."""
        self.rolling: dict[str, float] = {}
        """Of the running answers, when tokens flowed last, by name."""
        self._rolling = RollingMeasures()
        self.stage_problems: list[str] = []
        """A sentence for each mistake in the stage's files as they are now."""
        self.last_activity = time.monotonic()
        """When a visitor last spoke or typed, by the monotonic clock."""
        self.blank = False
        """Whether the operator has blanked the stage."""
        self.notices: deque[str] = deque(maxlen=MAX_NOTICES)
        """Sentences for the operator, oldest first, each once."""
        self.notice_times: dict[str, float] = {}
        """When each notice was last given, in seconds since 1970."""

    # --- the run ---------------------------------------------------------------------------------------------------

    def language_awaited(self) -> None:
        """No run is under way; one starts when a language is chosen."""
        self._osc.send("/wait_for_language", 1)
        self.state_changed()

    def run_begins(self, run: str, language: str) -> None:
        """A run begins."""
        self.measures = {}
        self._forget_answers()
        log.info("Run %s begins in %s.", run, language)
        self._osc.send("/wait_for_language", 0)
        self._hub.publish("run_started", RunEvent(run=run, language=language))
        self.state_changed()

    def last_words_begin(self, run: str, language: str) -> None:
        """The rounds are over; visitors may still talk until the rebirth."""
        log.info("Run %s: last words.", run)
        self._hub.publish("last_words", RunEvent(run=run, language=language))
        self.state_changed()

    def run_ends(self, run: str, language: str) -> None:
        """The run is over: its events leave the event stream's history, with the words in them."""
        log.info("Run %s is over.", run)
        self._forget_answers()
        self._osc.send("/run_end", 1)
        self._hub.clear_history()
        self._hub.publish("run_end", RunEvent(run=run, language=language))

    def restart_requested(self) -> None:
        """The rebirth: what OSC drives may start over."""
        self._osc.send("/request_restart", 1)

    def state_changed(self) -> None:
        """The run's public state has changed."""
        self._hub.publish("state", self._state())

    def heartbeat(self) -> None:
        """Send the owner's sign of life, the time left and the state; called at a regular interval."""
        self._heartbeats = (self._heartbeats + 1) % 2**31
        self._osc.send("/heartbeat", self._heartbeats)
        state = self._state()
        if state.time_left_seconds is not None:
            self._osc.send("/time_left", state.time_left_seconds)
        self._hub.publish("state", state)

    def notice(self, text: str) -> None:
        """Give the operator a notice; it must not hold a visitor's word."""
        log.warning("%s", text)
        if text not in self.notices:
            self.notices.append(text)
        self.notice_times = {
            notice: seconds for notice, seconds in self.notice_times.items() if notice in self.notices
        } | {text: time.time()}
        self._hub.publish("notice", NoticeEvent(text=text))

    def dated_notices(self) -> list[DeskNotice]:
        """The notices, newest first, and when each was last given."""
        return [DeskNotice(text=text, at=self.notice_times.get(text)) for text in reversed(self.notices)]

    def opening_changed(self, opening: OpeningState) -> None:
        """It has opened or closed, or how long it stays so has changed."""
        log.info("%s.", "Open" if opening.open else "Closed")
        self._osc.send("/open", int(opening.open))
        self.state_changed()

    def panic_changed(self, on: bool) -> None:
        """The operator has stopped everything, or lets it go on."""
        log.warning("Panic: answers stopped, stage dark." if on else "The panic is over.")
        self._osc.send("/panic", int(on))
        self.state_changed()

    def set_blank(self, blank: bool) -> None:
        """Blank the stage, also for browsers that open it later, or show it again."""
        self.blank = blank
        self._hub.publish_retained("stage", StageEvent(blank=blank), retain=blank)

    def stage_folder_changed(self, version: int, problems: list[str]) -> None:
        """The stage's folder was read again: notices are given for new problems, and withdrawn for solved ones."""
        for solved in [text for text in self.stage_problems if text not in problems and text in self.notices]:
            self.notices.remove(solved)
        for text in problems:
            if text not in self.stage_problems:
                self.notice(text)
        self.stage_problems = problems
        self._hub.publish("stage_runtime", StageRuntimeEvent(version=version, problems=problems))

    def test_osc(self) -> int:
        """Send an OSC test message; returns its number, which distinguishes it from earlier ones."""
        self._osc_tests += 1
        self._osc.send("/test", self._osc_tests)
        return self._osc_tests

    # --- rounds ----------------------------------------------------------------------------------------------------

    def round_begins(self, round_: Round, elapsed: float, newest: list[tuple[str, float | None]]) -> dict[str, float]:
        """A round begins.

        Args:
            elapsed: seconds since the run began.
            newest: the newest answers' texts, and each one's mean entropy in nats where known.

        Returns:
            The measures of these answers that were sent, by name.
        """
        log.info(
            "Round %d begins: %d samples, learning rate %g.", round_.iteration, len(round_.pairs), round_.learning_rate
        )
        self._osc.send("/elapsed_time", elapsed)
        self._osc.send("/learning_rate", round_.learning_rate)
        self._osc.send("/round/progress", 0.0)
        texts, entropies = [text for text, _ in newest], [entropy for _, entropy in newest]
        self.measures = measure_answers("osc", texts, entropies)
        for name, value in self.measures.items():
            self._osc.send(f"/collapse/{name}", value)
        self.round_changed(round_)
        self.state_changed()
        return self.measures

    def measured(self, measures: IterationMeasures) -> None:
        """Something was measured of an iteration that answers, or has answered."""
        for name, value in measures.values.items():
            if value is not None and "osc" in TABLE[name].windows and not TABLE[name].eased:
                self._osc.send(f"/collapse/{name}", value)
        self._hub.publish("measures", measures)
        self.state_changed()

    def life_moved(self, life: float) -> None:
        """What is shown of the language's life, 0 to 1, has changed on its way to what was measured."""
        self._osc.send("/collapse/life", life)
        self._hub.publish("life", LifeEvent(life=life))

    def round_changed(self, round_: Round) -> None:
        """A round's public record has changed."""
        self._hub.publish("round", round_.record())

    def step(self, round_: Round) -> None:
        """The worker has reported an optimizer step of this round."""
        if round_.loss is not None:
            self._osc.send("/loss", round_.step, round_.loss)
        if round_.steps:
            self._osc.send("/round/progress", min(1.0, round_.step / round_.steps))
        self.round_changed(round_)

    def swapped(self, swap: SwapEvent) -> None:
        """A new adapter answers from now on."""
        log.info(
            "Iteration %d answers (swap %.3f s, held %.1f s).", swap.iteration, swap.swap_seconds, swap.held_seconds
        )
        self._hub.publish("swap", swap)
        self.state_changed()

    # --- visitors' words -------------------------------------------------------------------------------------------

    def prompt(self, station: str, text: str, typed: str) -> None:
        """A visitor has sent a prompt; `text`: as it may be shown, `typed`: as the log has it where it may have it."""
        self.last_activity = time.monotonic()
        if self._log_words:
            log.info("Prompt: %s", typed)
        self._hub.publish("prompt", PromptEvent(station=station, text=text), station)

    def visitor_active(self) -> None:
        """A visitor has said something that nobody else hears."""
        self.last_activity = time.monotonic()

    def answer_begins(self, station: str, iteration: int, restarted: bool) -> None:
        """An answer begins; `restarted`: it begins again, because inference broke off."""
        self._rolling.begin_answer(station, restarted)
        self._hub.publish("start", AnswerStartEvent(station=station, iteration=iteration, restarted=restarted), station)

    def token(self, station: str, token: AnswerToken, iteration: int) -> None:
        """One token of a visitor's answer."""
        self._rolling.add_token(station, token.text, token.probability, token.entropy)
        event = TokenEvent(
            station=station,
            text=token.text,
            probability=token.probability,
            entropy=token.entropy,
            iteration=iteration,
        )
        self._hub.publish("token", event, station)

    def response(self, station: str, text: str, iteration: int, answer: str) -> None:
        """A visitor's answer is complete, cut at the end of a sentence; `text`: as it may be shown, `answer`: as it came."""
        if self._log_words:
            log.info("Answer of iteration %d: %s", iteration, answer)
        self._hub.publish("response", ResponseEvent(station=station, text=text, iteration=iteration), station)

    def rolling_measured(self) -> None:
        """Send the measures of the running answers, if any token has come since the last call."""
        if values := self._rolling.take():
            self.rolling = values
            for name, value in values.items():
                self._osc.send(f"/collapse/{name}", value)
            self._hub.publish("rolling", RollingEvent(values=values))

    def _forget_answers(self) -> None:
        self._rolling.clear()
        self.rolling = {}

    def typing(self, station: str, status: str) -> None:
        """A visitor types, or has stopped typing."""
        self.last_activity = time.monotonic()
        self._osc.send("/user_activity", status)
        self._hub.publish("typing", TypingEventData(station=station, status=status), station)

    def forgotten(self, station: str) -> None:
        """A station's words were deleted: its past events are forgotten, and whoever shows its words is told."""
        self._hub.forget(station)
        self._rolling.forget(station)
        self._hub.publish("forgotten", ForgottenEvent(station=station), station)
        self.state_changed()
