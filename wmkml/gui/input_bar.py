"""The bottom of the window: first the choice of a language, with the consent text, then the field to type in.

The widgets call the callbacks they are given; what those do is the window's matter.
"""

from __future__ import annotations

import functools
import tkinter
from collections.abc import Callable
from tkinter import ttk

from wmkml.gui import theme
from wmkml.gui.texts import WindowTexts, choice_label, consent_text, language_name, texts_for
from wmkml.protocol.run_state import RunState


class LanguageChooser:
    """A button for each language, and below it the consent text in that language."""

    def __init__(self, parent: tkinter.Misc, look: theme.Theme, on_choice: Callable[[str], None]) -> None:
        self.frame = ttk.Frame(parent)
        self._look, self._on_choice = look, on_choice
        self._buttons: dict[str, ttk.Button] = {}
        self._consents: dict[str, ttk.Label] = {}

    def show(self, state: RunState, connected: bool) -> None:
        """Update labels and consent texts; the buttons are disabled while the owner is away."""
        if list(self._buttons) != state.languages:
            self._build(state.languages)
        for language, button in self._buttons.items():
            label = choice_label(language, state.phase == "waiting")
            button.configure(text=label, state="normal" if connected else "disabled")
            self._consents[language].configure(text=consent_text(state, texts_for(language)))

    def focus(self) -> None:
        """Give the first language's button the keyboard."""
        for button in self._buttons.values():
            return button.focus_set()

    def _build(self, languages: list[str]) -> None:
        px = self._look.px
        for widget in self.frame.winfo_children():
            widget.destroy()
        for column, language in enumerate(languages):
            self.frame.columnconfigure(column, weight=1, uniform="language")
            button = ttk.Button(self.frame, command=functools.partial(self._on_choice, language))
            button.bind("<Return>", lambda event: event.widget.invoke())
            space = (0, px(28)) if column < len(languages) - 1 else 0
            button.grid(row=0, column=column, sticky="ew", padx=space)
            label = ttk.Label(self.frame, style="Soft.TLabel", anchor="nw")
            label.grid(row=1, column=column, sticky="new", padx=space, pady=(px(12), 0))
            label.bind("<Configure>", _wrap)
            self._buttons[language], self._consents[language] = button, label
        for language in set(self._buttons) - set(languages):
            del self._buttons[language], self._consents[language]
        self.focus()


class PromptBar:
    """The field to type in, the button that sends it, the consent text, the languages, and the button to leave."""

    def __init__(
        self,
        parent: tkinter.Misc,
        look: theme.Theme,
        *,
        on_send: Callable[[], None],
        on_choice: Callable[[str], None],
        on_leave: Callable[[], None],
    ) -> None:
        px = look.px
        self.frame = frame = ttk.Frame(parent)
        self._on_choice = on_choice
        frame.columnconfigure(0, weight=1)
        self.entry = ttk.Entry(frame, font=look.prompt)
        self.entry.grid(row=0, column=0, sticky="ew")
        self.entry.bind("<Return>", lambda _: on_send())
        self.entry.bind("<KP_Enter>", lambda _: on_send())
        self._send = ttk.Button(frame, command=on_send)
        self._send.grid(row=0, column=1, padx=(px(12), 0), sticky="ns")
        below = ttk.Frame(frame)
        below.grid(row=1, column=0, columnspan=2, sticky="ew", pady=(px(10), 0))
        below.columnconfigure(0, weight=1)
        self._consent = ttk.Label(below, style="Soft.TLabel", anchor="nw")
        self._consent.grid(row=0, column=0, sticky="ew")
        self._consent.bind("<Configure>", _wrap)
        self._choices = ttk.Frame(below)
        self._choices.grid(row=0, column=1, sticky="ne", padx=(px(24), 0))
        self._leave = ttk.Button(below, style="Flat.TButton", command=on_leave)
        self._leave.grid(row=0, column=2, sticky="ne")
        self._buttons: dict[str, ttk.Button] = {}
        for button in (self._send, self._leave):
            button.bind("<Return>", lambda event: event.widget.invoke())

    def show(
        self, state: RunState, language: str | None, texts: WindowTexts, *, may_send: bool, connected: bool
    ) -> None:
        """Update labels and the consent text; `language`, this station's own, is marked among the languages."""
        self._send.configure(text=texts.send, state="normal" if may_send else "disabled")
        self._consent.configure(text=consent_text(state, texts))
        self._leave.configure(text=texts.leave)
        if list(self._buttons) != state.languages:
            for button in self._buttons.values():
                button.destroy()
            self._buttons = {choice: self._build_button(choice) for choice in state.languages}
        for choice, button in self._buttons.items():
            button.configure(
                style="Chosen.Flat.TButton" if choice == language else "Flat.TButton",
                state="normal" if connected else "disabled",
            )

    def enable(self, enabled: bool) -> None:
        """Let the visitor type, or not."""
        self.entry.configure(state="normal" if enabled else "disabled")

    def _build_button(self, language: str) -> ttk.Button:
        button = ttk.Button(
            self._choices,
            text=language_name(language),
            style="Flat.TButton",
            command=functools.partial(self._on_choice, language),
        )
        button.bind("<Return>", lambda event: event.widget.invoke())
        button.pack(side="left")
        return button


def _wrap(event: tkinter.Event[tkinter.Misc]) -> None:
    assert isinstance(event.widget, ttk.Label)
    event.widget.configure(wraplength=event.width)
