"""The window: what the run is doing, the loss as a line, the last exchange, and a field to say something.

Shows news and calls the `Mouth` it is given; knows no HTTP and no thread.  Words are shown only while their run lives.
"""

from __future__ import annotations

import time
import tkinter
from tkinter import ttk
from typing import Protocol

from wmkml import wire
from wmkml.gui import look
from wmkml.gui.client import Answered, Chosen, Connection, News, Prompt, Response, Start, Token
from wmkml.gui.exchange import Exchange
from wmkml.gui.losses import Losses, gathered, line
from wmkml.gui.words import choice, clock, consent, doing, iteration, words_of

STOPPED_TYPING_SECONDS = 1.5


class Mouth(Protocol):
    """What the window can do to the world; every call returns at once."""

    def ask(self, prompt: str, language: str | None) -> None: ...
    def choose(self, language: str) -> None: ...
    def typing(self, status: str) -> None: ...


class Window:
    """The widgets in `tk`, and what they show."""

    def __init__(self, tk: tkinter.Tk, mouth: Mouth, language: str) -> None:
        self._mouth = mouth
        self._language: str | None = None
        """Of this station, once somebody chose; the labels follow it, and before that the configured language."""
        self._labels = words_of(language)
        self._configured = language
        self._state: wire.RunState | None = None
        self._state_at = 0.0
        self._losses: Losses = {}
        self._exchange: Exchange | None = None
        self._asked = False
        self._typed_at: float | None = None
        self._connection = Connection(there=False)
        self._trouble = ""
        self._build(tk)
        self._refresh()

    # --- building ---

    def _build(self, tk: tkinter.Tk) -> None:
        # Kept, because a font that nobody holds is taken away from the widgets that use it.
        self._fonts = fonts = look.dress(tk)
        tk.title("Watch me kill my language")
        tk.geometry("860x640")
        tk.minsize(520, 460)
        frame = ttk.Frame(tk, padding=(28, 22))
        frame.pack(fill="both", expand=True)
        frame.columnconfigure(0, weight=1)
        frame.rowconfigure(3, weight=1)

        self._doing = ttk.Label(frame, style="Title.TLabel")
        self._doing.grid(row=0, column=0, sticky="w")
        self._facts = ttk.Label(frame, style="Soft.TLabel")
        self._facts.grid(row=1, column=0, sticky="ew", pady=(4, 14))
        self._canvas = tkinter.Canvas(frame, height=110, background=look.RAISED, highlightthickness=0)
        self._canvas.grid(row=2, column=0, sticky="ew")
        self._canvas.bind("<Configure>", lambda _: self._draw_losses())
        self._text = self._exchange_text(frame, fonts)
        self._text.grid(row=3, column=0, sticky="nsew", pady=(18, 12))

        self._hint = ttk.Label(frame, style="Soft.TLabel")
        self._hint.grid(row=4, column=0, sticky="ew", pady=(0, 6))
        row = ttk.Frame(frame)
        row.grid(row=5, column=0, sticky="ew")
        row.columnconfigure(0, weight=1)
        self._entry = ttk.Entry(row, font=fonts.plain)
        self._entry.grid(row=0, column=0, sticky="ew")
        self._entry.bind("<Return>", lambda _: self._ask())
        self._entry.bind("<Key>", self._typed)
        self._send = ttk.Button(row, command=self._ask)
        self._send.grid(row=0, column=1, padx=(10, 0))

        self._languages = ttk.Frame(frame)
        self._languages.grid(row=6, column=0, sticky="w", pady=(14, 0))
        self._buttons: dict[str, ttk.Button] = {}
        self._consent = ttk.Label(frame, style="Soft.TLabel")
        self._consent.grid(row=7, column=0, sticky="ew", pady=(12, 0))
        for label in (self._consent, self._hint, self._facts):
            label.bind("<Configure>", lambda event: event.widget.configure(wraplength=event.width))

    def _exchange_text(self, frame: ttk.Frame, fonts: look.Fonts) -> tkinter.Text:
        text = tkinter.Text(
            frame,
            wrap="word",
            state="disabled",
            height=6,
            font=fonts.answer,
            background=look.GROUND,
            foreground=look.TEXT,
            highlightthickness=0,
            borderwidth=0,
            cursor="arrow",
            spacing2=5,
            takefocus=False,
        )
        text.tag_configure("prompt", font=fonts.plain, foreground=look.SOFT, spacing3=10)
        text.tag_configure("note", font=fonts.small, foreground=look.SOFT, spacing1=12)
        for number in range(look.SHADES):
            text.tag_configure(f"shade{number}", foreground=look.shade_color(number))
        return text

    # --- news ---

    def show(self, news: News) -> None:
        """Show one piece of news."""
        match news:
            case Connection():
                self._connection = news
            case wire.RunState():
                self._take(news)
            case wire.RoundRecord():
                self._losses = gathered(self._losses, [news])
                if self._state is not None:
                    self._state = self._state.model_copy(update={"round": news})
                self._draw_losses()
            case Prompt():
                self._exchange = Exchange(news.station, news.text)
                self._show_exchange()
            case Start() if self._exchange is not None and news.station == self._exchange.station:
                self._exchange = self._exchange.begun()
                self._show_exchange()
            case Token() if self._exchange is not None and news.station == self._exchange.station:
                self._exchange = self._exchange.grown(news.text, news.probability)
                self._write([(news.text, f"shade{look.shade(news.probability)}")])
            case Response() if self._exchange is not None and news.station == self._exchange.station:
                self._exchange = self._exchange.ended(news.text, news.iteration)
                self._show_exchange()
            case Answered():
                self._answered(news)
            case Chosen():
                self._chosen(news)
            case _:
                return  # a word of another station than the one shown
        self._refresh()

    def tick(self) -> None:
        """What changes by itself: the time left, and that nobody types any more."""
        self._show_facts()
        if self._typed_at is not None and time.monotonic() - self._typed_at > STOPPED_TYPING_SECONDS:
            self._stop_typing()

    def _take(self, state: wire.RunState) -> None:
        if self._state is not None and self._state.run != state.run:
            # The run these words and losses belong to is over.
            self._losses, self._exchange, self._language = {}, None, None
            self._labels = words_of(state.language or self._configured)
            self._show_exchange()
        self._state, self._state_at = state, time.monotonic()
        self._losses = gathered(self._losses, state.rounds)
        self._draw_losses()

    def _answered(self, news: Answered) -> None:
        self._asked = False
        if news.ok:
            return
        self._trouble = self._labels.refused.format(news.refusal) if news.refusal else self._labels.broken
        if not self._entry.get():
            self._enable_entry(True)
            self._entry.insert(0, news.prompt)

    def _chosen(self, news: Chosen) -> None:
        if news.ok:
            self._language, self._labels = news.language, words_of(news.language)
            self._enable_entry(True)
            self._entry.focus_set()
        elif news.refusal:
            self._trouble = self._labels.refused.format(news.refusal)

    # --- what somebody does ---

    def _ask(self) -> None:
        prompt = self._entry.get().strip()
        if not prompt or not self._may_ask():
            return
        self._entry.delete(0, "end")
        self._trouble, self._asked = "", True
        self._stop_typing()
        self._mouth.ask(prompt, self._language)
        self._refresh()

    def _typed(self, event: tkinter.Event[tkinter.Misc]) -> None:
        if not event.char or event.keysym == "Return":
            return
        if self._typed_at is None:
            self._mouth.typing("typing")
        self._typed_at = time.monotonic()

    def _stop_typing(self) -> None:
        if self._typed_at is not None:
            self._mouth.typing("stopped")
        self._typed_at = None

    def _choose(self, language: str) -> None:
        self._trouble = ""
        self._mouth.choose(language)

    def _may_ask(self) -> bool:
        alive = self._state is not None and self._state.phase != "waiting"
        return alive and self._language is not None and self._connection.there and not self._asked

    # --- showing ---

    def _refresh(self) -> None:
        state, labels = self._state, self._labels
        if state is not None:
            self._doing.configure(text=doing(state, labels))
            self._consent.configure(text=consent(state, labels))
            self._show_buttons(state)
        self._show_facts()
        self._send.configure(text=labels.send, state="normal" if self._may_ask() else "disabled")
        self._enable_entry(state is not None and state.phase != "waiting" and self._language is not None)
        trouble = labels.away if not self._connection.there else self._trouble
        self._hint.configure(text=trouble or self._advice(), style="Trouble.TLabel" if trouble else "Soft.TLabel")
        if self._exchange is None:
            self._show_exchange()

    def _advice(self) -> str:
        if self._state is not None and self._state.phase != "waiting" and self._language is None:
            return self._labels.choose_first
        return "" if self._connection.everybody else self._labels.own_words_only

    def _show_facts(self) -> None:
        state, labels = self._state, self._labels
        if state is None:
            self._facts.configure(text="")
            return
        facts = [f"{labels.iteration} {iteration(state.iteration, labels)}"]
        if state.round is not None:
            facts.append(f"{labels.learning_rate} {state.round.learning_rate:.5f}".rstrip("0"))
        if state.time_left_seconds is not None:
            left = state.time_left_seconds - (time.monotonic() - self._state_at)
            facts.append(f"{labels.time_left} {clock(left)}")
        self._facts.configure(text="    ".join(facts))

    def _show_buttons(self, state: wire.RunState) -> None:
        if list(self._buttons) != state.languages:
            for button in self._buttons.values():
                button.destroy()
            self._buttons = {one: self._button(one) for one in state.languages}
        for language, button in self._buttons.items():
            chosen = language == self._language
            button.configure(
                text=choice(language, state.phase == "waiting"),
                style="Chosen.TButton" if chosen else "TButton",
                state="normal" if self._connection.there else "disabled",
            )

    def _button(self, language: str) -> ttk.Button:
        button = ttk.Button(self._languages, command=lambda: self._choose(language))
        button.pack(side="left", padx=(0, 10))
        return button

    def _enable_entry(self, enabled: bool) -> None:
        self._entry.configure(state="normal" if enabled else "disabled")

    def _show_exchange(self) -> None:
        self._text.configure(state="normal")
        self._text.delete("1.0", "end")
        self._text.configure(state="disabled")
        if self._exchange is None:
            self._write([(self._labels.no_exchange, "prompt")])
            return
        tokens = [(text, f"shade{look.shade(probability)}") for text, probability in self._exchange.tokens]
        self._write([(self._exchange.prompt + "\n", "prompt"), *tokens])
        if self._exchange.iteration is not None:
            number = iteration(self._exchange.iteration, self._labels)
            self._write([(f"\n{self._labels.iteration} {number}", "note")])

    def _write(self, pieces: list[tuple[str, str]]) -> None:
        self._text.configure(state="normal")
        for text, tag in pieces:
            self._text.insert("end", text, tag)
        self._text.configure(state="disabled")
        self._text.see("end")

    def _draw_losses(self) -> None:
        width, height = self._canvas.winfo_width(), self._canvas.winfo_height()
        self._canvas.delete("all")
        points = line(self._losses, width, height, pad=26)
        if not points:
            middle = (width / 2, height / 2)
            self._canvas.create_text(*middle, text=self._labels.no_loss, fill=look.SOFT)
            return
        self._canvas.create_line(*(at for point in points for at in point), fill=look.WARM, width=2, tags="loss")
        newest = self._losses[max(self._losses)]
        self._canvas.create_text(
            14, 14, anchor="w", text=f"{self._labels.loss} {newest:.2f}", fill=look.SOFT, tags="newest"
        )
