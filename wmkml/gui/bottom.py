"""The bottom of the window: first the choice of a language with what must be said before one types, then a field to type in.

Knows which buttons there are and what they say; what they do is given.
"""

from __future__ import annotations

import tkinter
from collections.abc import Callable
from tkinter import ttk

from wmkml import wire
from wmkml.gui import look
from wmkml.gui.words import Words, choice, consent, name_of, words_of


class Gate:
    """A button for every language, and below it, in that language, what happens to what one writes."""

    def __init__(self, parent: tkinter.Misc, dressed: look.Look, choose: Callable[[str], None]) -> None:
        self.frame = ttk.Frame(parent)
        self._look, self._choose = dressed, choose
        self._buttons: dict[str, ttk.Button] = {}
        self._consents: dict[str, ttk.Label] = {}

    def show(self, state: wire.RunState, there: bool) -> None:
        """Say what the state says; nothing can be chosen while the owner is away."""
        if list(self._buttons) != state.languages:
            self._build(state.languages)
        for language, button in self._buttons.items():
            button.configure(text=choice(language, state.phase == "waiting"), state="normal" if there else "disabled")
            self._consents[language].configure(text=consent(state, words_of(language)))

    def focus(self) -> None:
        """Let the keyboard begin with the first language."""
        for button in self._buttons.values():
            return button.focus_set()

    def _build(self, languages: list[str]) -> None:
        px = self._look.px
        for widget in self.frame.winfo_children():
            widget.destroy()
        for column, language in enumerate(languages):
            self.frame.columnconfigure(column, weight=1, uniform="language")
            button = ttk.Button(self.frame, command=lambda one=language: self._choose(one))  # type: ignore[misc]
            button.bind("<Return>", lambda event: event.widget.invoke())
            space = (0, px(28)) if column < len(languages) - 1 else 0
            button.grid(row=0, column=column, sticky="ew", padx=space)
            label = ttk.Label(self.frame, style="Soft.TLabel", anchor="nw")
            label.grid(row=1, column=column, sticky="new", padx=space, pady=(px(12), 0))
            label.bind("<Configure>", _wrap)
            self._buttons[language], self._consents[language] = button, label
        for gone in set(self._buttons) - set(languages):
            del self._buttons[gone], self._consents[gone]
        self.focus()


class Talk:
    """A field, a button to send what is in it, the languages once more, and the way out."""

    def __init__(
        self,
        parent: tkinter.Misc,
        dressed: look.Look,
        ask: Callable[[], None],
        choose: Callable[[str], None],
        leave: Callable[[], None],
    ) -> None:
        px = dressed.px
        self.frame = frame = ttk.Frame(parent)
        self._choose = choose
        frame.columnconfigure(0, weight=1)
        self.entry = ttk.Entry(frame, font=dressed.prompt)
        self.entry.grid(row=0, column=0, sticky="ew")
        self.entry.bind("<Return>", lambda _: ask())
        self.entry.bind("<KP_Enter>", lambda _: ask())
        self._send = ttk.Button(frame, command=ask)
        self._send.grid(row=0, column=1, padx=(px(12), 0), sticky="ns")
        below = ttk.Frame(frame)
        below.grid(row=1, column=0, columnspan=2, sticky="ew", pady=(px(10), 0))
        below.columnconfigure(0, weight=1)
        self._consent = ttk.Label(below, style="Soft.TLabel", anchor="nw")
        self._consent.grid(row=0, column=0, sticky="ew")
        self._consent.bind("<Configure>", _wrap)
        self._choices = ttk.Frame(below)
        self._choices.grid(row=0, column=1, sticky="ne", padx=(px(24), 0))
        self._leave = ttk.Button(below, style="Flat.TButton", command=leave)
        self._leave.grid(row=0, column=2, sticky="ne")
        self._buttons: dict[str, ttk.Button] = {}
        for button in (self._send, self._leave):
            button.bind("<Return>", lambda event: event.widget.invoke())

    def show(self, state: wire.RunState, language: str | None, words: Words, may_ask: bool, there: bool) -> None:
        """Say what the state says, in the language that is spoken here."""
        self._send.configure(text=words.send, state="normal" if may_ask else "disabled")
        self._consent.configure(text=consent(state, words))
        self._leave.configure(text=words.leave)
        if list(self._buttons) != state.languages:
            for button in self._buttons.values():
                button.destroy()
            self._buttons = {one: self._button(one) for one in state.languages}
        for one, button in self._buttons.items():
            button.configure(
                style="Chosen.Flat.TButton" if one == language else "Flat.TButton",
                state="normal" if there else "disabled",
            )

    def enable(self, enabled: bool) -> None:
        """Whether one may type."""
        self.entry.configure(state="normal" if enabled else "disabled")

    def _button(self, language: str) -> ttk.Button:
        button = ttk.Button(
            self._choices, text=name_of(language), style="Flat.TButton", command=lambda: self._choose(language)
        )
        button.bind("<Return>", lambda event: event.widget.invoke())
        button.pack(side="left")
        return button


def _wrap(event: tkinter.Event[tkinter.Misc]) -> None:
    assert isinstance(event.widget, ttk.Label)
    event.widget.configure(wraplength=event.width)
