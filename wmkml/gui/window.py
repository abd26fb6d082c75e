"""The window: the conversation on the left, the run's side panel on the right, and the input bar below.

`Window` receives events, keeps what is known of the run, and updates its parts; what the visitor does goes to the
`StationActions` it is given.  It runs in the Tk thread alone.  Words are shown only while their run lives and their
visitor is there.
"""

from __future__ import annotations

import time
import tkinter
from collections.abc import Callable
from tkinter import ttk
from typing import Protocol

from wmkml.gui import theme
from wmkml.gui.chat import ChatView
from wmkml.gui.events import (
    AnswerStarted,
    ChoiceOutcome,
    Connection,
    HelpOffered,
    PromptOutcome,
    PromptReceived,
    ResponseReceived,
    RunEnded,
    TokenReceived,
    WindowEvent,
)
from wmkml.gui.exchange import DisplayedExchange
from wmkml.gui.input_bar import LanguageChooser, PromptBar
from wmkml.gui.panels.diversity import Diversity, NamedMeasures
from wmkml.gui.panels.losses import Losses, merge_losses
from wmkml.gui.panels.osc_preview import osc_messages
from wmkml.gui.panels.plots import Bar
from wmkml.gui.panels.side_panel import SidePanel
from wmkml.gui.text_sanitizing import join_surrogates
from wmkml.gui.texts import clock_text, iteration_text, texts_for
from wmkml.protocol.run_state import IterationMeasures, RoundRecord, RunState

TITLE = "Watch me kill my language"

STOPPED_TYPING_SECONDS = 1.5
"""Without a key press for this long the visitor counts as having stopped typing."""

WARNING_SECONDS = 10.0
"""The window warns of its idle timeout this long before."""

REBIRTH_SECONDS = 20.0
"""The sentence about the language that fell silent is shown for this long after a run."""

SIZE, MIN_SIZE = (1280, 800), (560, 480)
"""Width and height of the window, in pixels at 100 %."""

NARROW = 940
"""Below this width, in pixels at 100 %, the side panel is hidden."""


class StationActions(Protocol):
    """What the window asks of the owner for its station; every call returns at once."""

    station: str

    def ask(self, prompt: str, language: str | None) -> None: ...
    def choose(self, language: str) -> None: ...
    def report_typing(self, status: str) -> None: ...
    def leave(self) -> None: ...


class Window:
    """The widgets in `tk`, and the state they show.

    Args:
        language: the language of the texts until a run or a visitor has one.
        now: the clock, in seconds.
    """

    def __init__(
        self, tk: tkinter.Tk, actions: StationActions, language: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._actions, self._now = actions, now
        self._default_language = language
        self._language: str | None = None
        """The visitor's language; None until they choose one."""
        self._texts = texts_for(language)
        self._state: RunState | None = None
        self._state_at = 0.0
        self._losses: Losses = {}
        self._diversity = Diversity()
        self._awaiting_answer = False
        self._typed_at: float | None = None
        """Time of the last key press; None once `stopped` was reported."""
        self._active_at = self._now()
        """Time of the visitor's last key press, click or mouse movement."""
        self._ended_at: float | None = None
        """Time of the last run's end, for REBIRTH_SECONDS."""
        self._connection = Connection(connected=False)
        self._error_text = ""
        self._build(tk)
        self._refresh()

    # --- building ---

    def _build(self, tk: tkinter.Tk) -> None:
        # Held, because Tk deletes a font whose Python object is gone from the widgets that use it.
        self._look = look = theme.apply_theme(tk)
        px = look.px
        tk.title(TITLE)
        width, height = min(px(SIZE[0]), tk.winfo_screenwidth()), min(px(SIZE[1]), tk.winfo_screenheight())
        tk.geometry(f"{width}x{height}")
        tk.minsize(*(px(side) for side in MIN_SIZE))
        self._time_bar = Bar(tk, look, 3, theme.GROUND)
        self._time_bar.canvas.pack(fill="x")
        frame = ttk.Frame(tk, padding=(px(44), px(26), px(32), px(26)))
        frame.pack(fill="both", expand=True)
        frame.columnconfigure(0, weight=1)
        frame.rowconfigure(0, weight=1)
        self._chat = ChatView(frame, look)
        self._chat.text.grid(row=0, column=0, sticky="nsew", pady=(0, px(16)))
        self._hint = ttk.Label(frame, style="Soft.TLabel")
        self._hint.grid(row=1, column=0, sticky="ew", pady=(0, px(8)))
        self._hint.bind("<Configure>", lambda event: event.widget.configure(wraplength=event.width))
        self._chooser = LanguageChooser(frame, look, self._choose)
        self._prompt_bar = PromptBar(frame, look, on_send=self._ask, on_choice=self._choose, on_leave=self._leave)
        self._entry = self._prompt_bar.entry
        self._entry.bind("<Key>", self._on_key)
        self._panel = SidePanel(frame, look)
        frame.bind("<Configure>", lambda event: self._place_panel(event.width))
        for event in ("<Key>", "<Button>", "<Motion>"):
            tk.bind(event, self._on_activity, add=True)
        tk.bind("<Escape>", lambda _: self._leave())
        tk.bind("<Prior>", lambda _: self._chat.scroll(-1))
        tk.bind("<Next>", lambda _: self._chat.scroll(1))
        tk.bind("<F11>", lambda _: tk.attributes("-fullscreen", not tk.attributes("-fullscreen")))

    def _place_panel(self, width: int) -> None:
        if width < self._look.px(NARROW):
            self._panel.frame.grid_remove()
        else:
            self._panel.fit(width)
            self._panel.frame.grid(row=0, column=1, rowspan=3, sticky="nse", padx=(self._look.px(44), 0))

    # --- events ---

    def show(self, event: WindowEvent) -> None:
        """Take in one event and update what depends on it."""
        state = self._state
        self._panel.osc.add(osc_messages(event, state, self._elapsed(), self._current_measures))
        match event:
            case Connection():
                self._connection = event
            case RunState():
                self._update_state(event)
            case RoundRecord():
                self._losses = merge_losses(self._losses, [event])
                if state is not None:
                    self._state = state.model_copy(update={"round": event})
            case IterationMeasures():
                self._diversity = self._diversity.with_measures(event)
            case PromptReceived():
                own = event.station == self._actions.station
                self._chat.add(DisplayedExchange(event.station, event.text), own, self._texts)
            case AnswerStarted():
                total = state.num_total_iters if state is not None else 1
                self._chat.start_answer(event.station, event.iteration, total)
            case TokenReceived():
                self._chat.add_token(event.station, event.text, event.probability)
                self._diversity = self._diversity.with_token(event.iteration, event.entropy)
                return  # Tokens are the most frequent event, and nothing else shows them.
            case ResponseReceived():
                self._chat.complete_answer(event.station, event.text, event.iteration, self._texts)
                self._diversity = self._diversity.with_answer(event.iteration, event.text)
            case HelpOffered():
                self._chat.offer_help(event.station, event.text)
            case RunEnded():
                self._ended_at = self._now()
                self._panel.osc.forget_words()
            case PromptOutcome():
                self._on_prompt_outcome(event)
            case ChoiceOutcome():
                self._on_choice_outcome(event)
        self._refresh()

    def tick(self) -> None:
        """Update what depends on the clock alone: time left, typing status, idle timeout."""
        self._chat.tick()
        self._show_time()
        if self._typed_at is not None and self._now() - self._typed_at > STOPPED_TYPING_SECONDS:
            self._stop_typing()
        left = self._idle_seconds_left()
        if left is not None and left <= 0:
            self._leave()
        elif left is not None and left <= WARNING_SECONDS:
            self._hint.configure(text=self._texts.idle.format(int(left) + 1), style="Trouble.TLabel")
        if self._ended_at is not None and self._now() - self._ended_at > REBIRTH_SECONDS:
            self._ended_at = None
            self._refresh()

    def _update_state(self, state: RunState) -> None:
        if self._state is not None and self._state.run != state.run:
            # Words and numbers belong to the run before.
            self._losses, self._diversity = {}, Diversity()
            self._forget_visitor(state.language)
            if state.run is not None:
                self._ended_at = None
        self._state, self._state_at = state, self._now()
        self._losses = merge_losses(self._losses, state.rounds)
        if state.measured is not None:
            self._diversity = self._diversity.with_measures(state.measured)

    def _on_prompt_outcome(self, outcome: PromptOutcome) -> None:
        self._awaiting_answer = False
        if outcome.ok:
            return
        self._chat.break_off(self._actions.station)
        self._error_text = self._texts.refused.format(outcome.refusal) if outcome.refusal else self._texts.broken
        if not self._entry.get():
            self._prompt_bar.enable(True)
            self._entry.insert(0, outcome.prompt)

    def _on_choice_outcome(self, outcome: ChoiceOutcome) -> None:
        if outcome.ok:
            self._language, self._texts = outcome.language, texts_for(outcome.language)
            self._invite()
            self._refresh()
            self._entry.focus_set()
        elif outcome.refusal:
            self._error_text = self._texts.refused.format(outcome.refusal)

    # --- what the visitor does ---

    def _ask(self) -> None:
        prompt = join_surrogates(self._entry.get()).strip()
        if not prompt or not self._may_ask():
            return
        self._entry.delete(0, "end")
        self._error_text, self._awaiting_answer = "", True
        self._stop_typing()
        self._actions.ask(prompt, self._language)
        self._refresh()

    def _choose(self, language: str) -> None:
        self._error_text, self._active_at = "", self._now()
        self._actions.choose(language)

    def _leave(self) -> None:
        """The visitor is gone: forget what they said, and abandon the answer under way."""
        if self._language is None:
            return
        self._stop_typing()
        self._actions.leave()
        self._forget_visitor(self._state.language if self._state is not None else None)
        self._refresh()

    def _forget_visitor(self, language: str | None) -> None:
        self._language, self._texts = None, texts_for(language or self._default_language)
        self._awaiting_answer, self._error_text = False, ""
        self._prompt_bar.enable(True)
        self._entry.delete(0, "end")
        self._panel.osc.forget_words()
        self._invite(replace=True)
        self._chooser.focus()

    def _on_activity(self, _: tkinter.Event[tkinter.Misc]) -> None:
        self._active_at = self._now()
        if self._idle_seconds_left() is not None and str(self._hint["style"]) == "Trouble.TLabel":
            self._show_hint()

    def _on_key(self, event: tkinter.Event[tkinter.Misc]) -> None:
        if not event.char or event.keysym in ("Return", "KP_Enter", "Escape", "Tab"):
            return
        if self._typed_at is None:
            self._actions.report_typing("typing")
        self._typed_at = self._now()

    def _stop_typing(self) -> None:
        if self._typed_at is not None:
            self._actions.report_typing("stopped")
        self._typed_at = None

    # --- what is known ---

    def _may_ask(self) -> bool:
        return (
            self._run_alive()
            and self._language is not None
            and self._connection.connected
            and not self._awaiting_answer
        )

    def _run_alive(self) -> bool:
        return self._state is not None and self._state.phase != "waiting"

    def _idle_seconds_left(self) -> float | None:
        """Seconds until an idle visitor is forgotten; None without a visitor or an idle timeout."""
        timeout = self._state.idle_seconds if self._state is not None else 0.0
        if timeout <= 0 or self._language is None:
            return None
        return self._active_at + timeout - self._now()

    def _elapsed(self) -> float:
        return self._state.elapsed_seconds + self._now() - self._state_at if self._state is not None else 0.0

    def _current_measures(self) -> NamedMeasures | None:
        return self._diversity.measures_of(self._state.iteration) if self._state is not None else None

    # --- showing ---

    def _refresh(self) -> None:
        state, texts = self._state, self._texts
        talking = self._language is not None and self._run_alive()
        shown, hidden = (self._prompt_bar, self._chooser) if talking else (self._chooser, self._prompt_bar)
        hidden.frame.grid_remove()
        shown.frame.grid(row=2, column=0, sticky="ew")
        if state is not None:
            connected = self._connection.connected
            self._chooser.show(state, connected)
            self._prompt_bar.show(state, self._language, texts, may_send=self._may_ask(), connected=connected)
            self._panel.show_state(state, texts)
            self._panel.show_diversity(self._diversity.measures(), state.num_total_iters, texts)
        self._prompt_bar.enable(talking)
        self._panel.show_losses(self._losses, texts)
        self._show_time()
        self._show_hint()
        self._invite()

    def _invite(self, replace: bool = False) -> None:
        """Show the invitation where no conversation is shown; `replace`: also in place of one."""
        if not replace and not self._chat.empty:
            return
        texts = self._texts
        reborn = self._ended_at is not None and not self._run_alive()
        self._chat.invite(
            TITLE, texts.reborn if reborn else texts.invitation if self._language is None else texts.ask_me
        )

    def _show_hint(self) -> None:
        error = self._error_text if self._connection.connected else self._texts.away
        note = "" if self._connection.all_stations else self._texts.own_words_only
        self._hint.configure(text=error or note, style="Trouble.TLabel" if error else "Soft.TLabel")

    def _show_time(self) -> None:
        state, texts = self._state, self._texts
        if state is None:
            return
        facts = [f"{texts.iteration} {iteration_text(state.iteration, texts)}"]
        if state.round is not None:
            facts.append(f"{texts.learning_rate} {state.round.learning_rate:.5f}".rstrip("0"))
        share = 0.0
        if state.time_left_seconds is not None:
            left = max(0.0, state.time_left_seconds - (self._now() - self._state_at))
            facts.append(f"{texts.time_left} {clock_text(left)}")
            total = state.elapsed_seconds + state.time_left_seconds
            share = round(left / total, 3) if total > 0 else 0.0
        self._panel.show_facts("    ".join(facts))
        self._time_bar.show(share, theme.TROUBLE if state.phase == "last_words" else theme.WARM)
