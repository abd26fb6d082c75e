"""The window: a conversation on the left, the run's side on the right, and below them what one needs to talk.

Takes news, keeps what is known of the run, and has the parts show it; calls the `Mouth` it is given.  Knows no HTTP and
no thread.  Words are shown only while their run lives and their visitor is there.
"""

from __future__ import annotations

import time
import tkinter
from collections.abc import Callable
from tkinter import ttk
from typing import Protocol

from wmkml import wire
from wmkml.gui import look
from wmkml.gui.bottom import Gate, Talk
from wmkml.gui.chat import Chat
from wmkml.gui.diversity import Diversity, Measures
from wmkml.gui.drawable import whole
from wmkml.gui.exchange import Exchange
from wmkml.gui.losses import Losses, gathered
from wmkml.gui.news import (
    Answered,
    Chosen,
    Connection,
    News,
    Prompt,
    Response,
    RunOver,
    Start,
    Token,
)
from wmkml.gui.osc_preview import messages
from wmkml.gui.panel import Panel
from wmkml.gui.plots import Bar
from wmkml.gui.words import clock, iteration, words_of

TITLE = "Watch me kill my language"
STOPPED_TYPING_SECONDS = 1.5
WARNED_SECONDS = 10.0
"""So long before a visitor is forgotten the window says so."""

REBIRTH_SECONDS = 20.0
"""So long the window speaks of the language that fell silent."""

SIZE, LEAST = (1280, 800), (560, 480)
NARROW = 940
"""Below this width the conversation has the window for itself."""


class Mouth(Protocol):
    """What the window can do to the world; every call returns at once."""

    station: str

    def ask(self, prompt: str, language: str | None) -> None: ...
    def choose(self, language: str) -> None: ...
    def typing(self, status: str) -> None: ...
    def leave(self) -> None: ...


class Window:
    """The widgets in `tk`, and what they show."""

    def __init__(self, tk: tkinter.Tk, mouth: Mouth, language: str, now: Callable[[], float] = time.monotonic) -> None:
        self._mouth, self._now = mouth, now
        self._language: str | None = None
        """Of this station, once somebody chose; the words follow it, and before that the configured language."""
        self._words = words_of(language)
        self._configured = language
        self._state: wire.RunState | None = None
        self._state_at = 0.0
        self._losses: Losses = {}
        self._diversity = Diversity()
        self._asked = False
        self._typed_at: float | None = None
        self._used_at = self._now()
        self._reborn_at: float | None = None
        self._connection = Connection(there=False)
        self._trouble = ""
        self._build(tk)
        self._refresh()

    # --- building ---

    def _build(self, tk: tkinter.Tk) -> None:
        # Kept, because a font that nobody holds is taken away from the widgets that use it.
        self._look = dressed = look.dress(tk)
        px = dressed.px
        tk.title(TITLE)
        width, height = min(px(SIZE[0]), tk.winfo_screenwidth()), min(px(SIZE[1]), tk.winfo_screenheight())
        tk.geometry(f"{width}x{height}")
        tk.minsize(*(px(side) for side in LEAST))
        self._life = Bar(tk, dressed, 3, look.GROUND)
        self._life.canvas.pack(fill="x")
        frame = ttk.Frame(tk, padding=(px(44), px(26), px(32), px(26)))
        frame.pack(fill="both", expand=True)
        frame.columnconfigure(0, weight=1)
        frame.rowconfigure(0, weight=1)
        self._chat = Chat(frame, dressed)
        self._chat.text.grid(row=0, column=0, sticky="nsew", pady=(0, px(16)))
        self._hint = ttk.Label(frame, style="Soft.TLabel")
        self._hint.grid(row=1, column=0, sticky="ew", pady=(0, px(8)))
        self._hint.bind("<Configure>", lambda event: event.widget.configure(wraplength=event.width))
        self._gate = Gate(frame, dressed, self._choose)
        self._talk = Talk(frame, dressed, self._ask, self._choose, self._leave)
        self._entry = self._talk.entry
        self._entry.bind("<Key>", self._typed)
        self._panel = Panel(frame, dressed)
        frame.bind("<Configure>", lambda event: self._lay_out(event.width))
        for event in ("<Key>", "<Button>", "<Motion>"):
            tk.bind(event, self._used, add=True)
        tk.bind("<Escape>", lambda _: self._leave())
        tk.bind("<Prior>", lambda _: self._chat.scroll(-1))
        tk.bind("<Next>", lambda _: self._chat.scroll(1))
        tk.bind("<F11>", lambda _: tk.attributes("-fullscreen", not tk.attributes("-fullscreen")))

    def _lay_out(self, width: int) -> None:
        if width < self._look.px(NARROW):
            self._panel.frame.grid_remove()
        else:
            self._panel.frame.grid(row=0, column=1, rowspan=3, sticky="nse", padx=(self._look.px(44), 0))

    # --- news ---

    def show(self, news: News) -> None:
        """Show one piece of news."""
        state = self._state
        self._panel.osc.add(messages(news, state, self._elapsed(), self._answering))
        match news:
            case Connection():
                self._connection = news
            case wire.RunState():
                self._take(news)
            case wire.RoundRecord():
                self._losses = gathered(self._losses, [news])
                if state is not None:
                    self._state = state.model_copy(update={"round": news})
            case Prompt():
                own = news.station == self._mouth.station
                self._chat.add(Exchange(news.station, news.text), own, self._words)
            case Start():
                total = state.num_total_iters if state is not None else 1
                self._chat.begin(news.station, news.iteration, total)
            case Token():
                # As often as it comes, nothing else depends on it.
                self._chat.grow(news.station, news.text, news.probability)
                self._diversity = self._diversity.with_token(news.iteration, news.entropy)
                return
            case Response():
                self._chat.end(news.station, news.text, news.iteration, self._words)
                self._diversity = self._diversity.with_answer(news.iteration, news.text)
            case RunOver():
                self._reborn_at = self._now()
            case Answered():
                self._answered(news)
            case Chosen():
                self._chosen(news)
        self._refresh()

    def tick(self) -> None:
        """What changes by itself: the time left, that nobody types any more, that nobody is there."""
        self._chat.tick()
        self._show_time()
        if self._typed_at is not None and self._now() - self._typed_at > STOPPED_TYPING_SECONDS:
            self._stop_typing()
        left = self._seconds_until_forgotten()
        if left is not None and left <= 0:
            self._leave()
        elif left is not None and left <= WARNED_SECONDS:
            self._hint.configure(text=self._words.idle.format(int(left) + 1), style="Trouble.TLabel")
        if self._reborn_at is not None and self._now() - self._reborn_at > REBIRTH_SECONDS:
            self._reborn_at = None
            self._refresh()

    def _take(self, state: wire.RunState) -> None:
        if self._state is not None and self._state.run != state.run:
            # The run these words and numbers belong to is over.
            self._losses, self._diversity = {}, Diversity()
            self._forget(state.language)
            if state.run is not None:
                self._reborn_at = None
        self._state, self._state_at = state, self._now()
        self._losses = gathered(self._losses, state.rounds)

    def _answered(self, news: Answered) -> None:
        self._asked = False
        if news.ok:
            return
        self._chat.break_off(self._mouth.station)
        self._trouble = self._words.refused.format(news.refusal) if news.refusal else self._words.broken
        if not self._entry.get():
            self._talk.enable(True)
            self._entry.insert(0, news.prompt)

    def _chosen(self, news: Chosen) -> None:
        if news.ok:
            self._language, self._words = news.language, words_of(news.language)
            self._invite()
            self._refresh()
            self._entry.focus_set()
        elif news.refusal:
            self._trouble = self._words.refused.format(news.refusal)

    # --- what somebody does ---

    def _ask(self) -> None:
        prompt = whole(self._entry.get()).strip()
        if not prompt or not self._may_ask():
            return
        self._entry.delete(0, "end")
        self._trouble, self._asked = "", True
        self._stop_typing()
        self._mouth.ask(prompt, self._language)
        self._refresh()

    def _choose(self, language: str) -> None:
        self._trouble, self._used_at = "", self._now()
        self._mouth.choose(language)

    def _leave(self) -> None:
        """The visitor is gone: nothing of what they said stays, and what is being answered them is given up."""
        if self._language is None:
            return
        self._stop_typing()
        self._mouth.leave()
        self._forget(self._state.language if self._state is not None else None)
        self._refresh()

    def _forget(self, language: str | None) -> None:
        self._language, self._words = None, words_of(language or self._configured)
        self._asked, self._trouble = False, ""
        self._talk.enable(True)
        self._entry.delete(0, "end")
        self._panel.osc.forget_words()
        self._invite(always=True)
        self._gate.focus()

    def _used(self, _: tkinter.Event[tkinter.Misc]) -> None:
        self._used_at = self._now()
        if self._seconds_until_forgotten() is not None and str(self._hint["style"]) == "Trouble.TLabel":
            self._show_hint()

    def _typed(self, event: tkinter.Event[tkinter.Misc]) -> None:
        if not event.char or event.keysym in ("Return", "KP_Enter", "Escape", "Tab"):
            return
        if self._typed_at is None:
            self._mouth.typing("typing")
        self._typed_at = self._now()

    def _stop_typing(self) -> None:
        if self._typed_at is not None:
            self._mouth.typing("stopped")
        self._typed_at = None

    def _may_ask(self) -> bool:
        return self._alive() and self._language is not None and self._connection.there and not self._asked

    def _alive(self) -> bool:
        return self._state is not None and self._state.phase != "waiting"

    def _seconds_until_forgotten(self) -> float | None:
        patience = self._state.idle_seconds if self._state is not None else 0.0
        if patience <= 0 or self._language is None:
            return None
        return self._used_at + patience - self._now()

    def _answering(self) -> Measures | None:
        """The measures of the iteration that answers now."""
        return self._diversity.of(self._state.iteration) if self._state is not None else None

    # --- showing ---

    def _refresh(self) -> None:
        state, words = self._state, self._words
        talks = self._language is not None and self._alive()
        shown, hidden = (self._talk, self._gate) if talks else (self._gate, self._talk)
        hidden.frame.grid_remove()
        shown.frame.grid(row=2, column=0, sticky="ew")
        if state is not None:
            self._gate.show(state, self._connection.there)
            self._talk.show(state, self._language, words, self._may_ask(), self._connection.there)
            self._panel.show_state(state, words)
            self._panel.show_diversity(self._diversity.measures(), state.num_total_iters, words)
        self._talk.enable(talks)
        self._panel.show_losses(self._losses, words)
        self._show_time()
        self._show_hint()
        self._invite()

    def _invite(self, always: bool = False) -> None:
        if not always and not self._chat.empty:
            return
        words = self._words
        reborn = self._reborn_at is not None and not self._alive()
        line = words.reborn if reborn else words.invitation if self._language is None else words.ask_me
        self._chat.invite((TITLE, line))

    def _show_hint(self) -> None:
        trouble = self._words.away if not self._connection.there else self._trouble
        advice = "" if self._connection.everybody else self._words.own_words_only
        self._hint.configure(text=trouble or advice, style="Trouble.TLabel" if trouble else "Soft.TLabel")

    def _elapsed(self) -> float:
        return self._state.elapsed_seconds + self._now() - self._state_at if self._state is not None else 0.0

    def _show_time(self) -> None:
        state, words = self._state, self._words
        if state is None:
            return
        facts = [f"{words.iteration} {iteration(state.iteration, words)}"]
        if state.round is not None:
            facts.append(f"{words.learning_rate} {state.round.learning_rate:.5f}".rstrip("0"))
        part = 0.0
        if state.time_left_seconds is not None:
            left = max(0.0, state.time_left_seconds - (self._now() - self._state_at))
            facts.append(f"{words.time_left} {clock(left)}")
            whole_run = state.elapsed_seconds + state.time_left_seconds
            part = round(left / whole_run, 3) if whole_run > 0 else 0.0
        self._panel.show_facts("    ".join(facts))
        self._life.show(part, look.TROUBLE if state.phase == "last_words" else look.WARM)
