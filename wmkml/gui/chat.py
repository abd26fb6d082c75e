"""The conversation as the window shows it: exchanges one below the other, each token styled by its probability.

`ChatView` shows what it is given.  Prompts and answers are inserted as plain text.
"""

from __future__ import annotations

import time
import tkinter
from dataclasses import dataclass

from wmkml.gui import theme, token_styles
from wmkml.gui.exchange import DisplayedExchange
from wmkml.gui.readonly_text import ReadonlyText
from wmkml.gui.texts import WindowTexts, iteration_text

MAX_EXCHANGES = 60
"""Exchanges shown; the oldest are removed beyond that."""

GAP = "\n\n"
"""Follows each exchange."""

GLOW_SECONDS = 0.45
"""Time for which a new token has the highlight colour, before it takes its own."""


@dataclass
class _Entry:
    """An exchange, and the names of the Tk marks around its answer."""

    exchange: DisplayedExchange
    start: str
    end: str


class ChatView:
    """The widget `text`, which is the whole conversation."""

    def __init__(self, parent: tkinter.Misc, look: theme.Theme) -> None:
        px = look.px
        self._readonly = ReadonlyText(
            parent, wrap="word", height=4, font=look.answer, foreground=theme.TEXT, spacing2=px(6)
        )
        self.text = text = self._readonly.text
        text.tag_configure("title", font=look.title, spacing1=px(120), spacing3=px(14))
        text.tag_configure("lead", font=look.lead, foreground=theme.SOFT)
        text.tag_configure("prompt", font=look.prompt, foreground=theme.SOFT, spacing3=px(10))
        text.tag_configure("own", foreground=theme.blend(theme.GROUND, theme.WARM, 0.85))
        text.tag_configure(
            "note", spacing1=px(6), font=look.small, foreground=theme.blend(theme.GROUND, theme.SOFT, 0.75)
        )
        text.tag_configure("help", spacing1=px(10), font=look.lead, foreground=theme.TEXT)
        text.tag_configure("waiting", foreground=theme.WARM)
        text.tag_configure("gap", font=look.plain)
        self._fonts = token_styles.configure_tags(text, look)
        text.tag_configure("glow", foreground=theme.WARM)
        text.tag_raise("glow")
        self._entries: list[_Entry] = []
        self._count = 0
        self._total = 1
        self._glowing_since: float | None = None

    @property
    def empty(self) -> bool:
        """Whether no exchange is shown."""
        return not self._entries

    def invite(self, title: str, lead: str) -> None:
        """Show a title and a sentence in place of a conversation."""
        self._clear()
        self._readonly.insert("end", title + "\n", "title")
        self._readonly.insert("end", lead + "\n", "lead")

    def add(self, exchange: DisplayedExchange, own: bool, texts: WindowTexts) -> None:
        """Show a new prompt, with a placeholder where its answer will be; `own`: it was typed into this window."""
        if not self._entries:
            self._clear()
        self._count += 1
        entry = _Entry(exchange, f"from{self._count}", f"to{self._count}")
        place = self.text.index("end-1c")
        self._readonly.insert("end", GAP, "gap")
        self.text.mark_set(entry.end, place)
        self._entries.append(entry)
        prompt = exchange.prompt if own else f"{exchange.prompt}  ·  {texts.elsewhere}"
        self._readonly.insert(entry.end, prompt + "\n", *(("own", "prompt") if own else ("prompt",)))
        # What stands between the two marks is replaced when the answer starts over or is complete.
        self.text.mark_set(entry.start, self.text.index(entry.end))
        self.text.mark_gravity(entry.start, "left")
        self._readonly.insert(entry.end, "…", "waiting")
        self._drop_oldest()
        self._readonly.follow(force=own)

    def start_answer(self, station: str, iteration: int, total: int) -> None:
        """The station's answer starts, or starts over, by `iteration` in a run of `total` rounds."""
        if (entry := self._newest(station)) is not None:
            entry.exchange = entry.exchange.started(iteration)
            self._total = total
            self._replace_answer(entry, "…", "waiting")

    def add_token(self, station: str, text: str, probability: float) -> None:
        """Append one token to the station's answer."""
        entry = self._newest(station)
        if entry is None or entry.exchange.complete:
            return
        if not entry.exchange.tokens:
            self._replace_answer(entry)
        position = len(entry.exchange.tokens)
        entry.exchange = entry.exchange.with_token(text, probability)
        self._readonly.insert(entry.end, text, self._tag(entry.exchange, probability, position), "glow")
        self._glowing_since = self._glowing_since or time.monotonic()
        self._readonly.follow()

    def complete_answer(self, station: str, text: str, iteration: int, texts: WindowTexts) -> None:
        """The station's answer is complete; `text` is the part that the owner keeps."""
        if (entry := self._newest(station)) is None:
            return
        entry.exchange = entry.exchange.completed(text, iteration)
        self._replace_answer(entry)
        for position, (token, probability) in enumerate(entry.exchange.tokens):
            self._readonly.insert(entry.end, token, self._tag(entry.exchange, probability, position))
        self._readonly.insert(entry.end, f"\n{texts.iteration} {iteration_text(iteration, texts)}", "note")
        self._readonly.follow()

    def offer_help(self, station: str, text: str) -> None:
        """Show a line of help below the station's answer."""
        if (entry := self._newest(station)) is not None:
            self._readonly.insert(entry.end, f"\n{text}", "help")
            self._readonly.follow()

    def break_off(self, station: str) -> None:
        """The station's answer stops before its end; the tokens received stay."""
        entry = self._newest(station)
        if entry is None or entry.exchange.complete:
            return
        if not entry.exchange.tokens:
            self._replace_answer(entry)
        entry.exchange = entry.exchange.broken_off()

    def scroll(self, pages: int) -> None:
        """Scroll back (negative) or forward."""
        self._readonly.scroll(pages)

    def tick(self) -> None:
        """Take the highlight from new tokens once GLOW_SECONDS have passed."""
        if self._glowing_since is not None and time.monotonic() - self._glowing_since > GLOW_SECONDS:
            self.text.tag_remove("glow", "1.0", "end")
            self._glowing_since = None

    def _tag(self, exchange: DisplayedExchange, probability: float, position: int) -> str:
        iteration = exchange.iteration if exchange.iteration is not None else -1
        return token_styles.tag_name(probability, token_styles.decay_of(iteration, self._total), position)

    def _newest(self, station: str) -> _Entry | None:
        return next((entry for entry in reversed(self._entries) if entry.exchange.station == station), None)

    def _replace_answer(self, entry: _Entry, text: str = "", tag: str = "") -> None:
        self._readonly.delete(entry.start, entry.end)
        if text:
            self._readonly.insert(entry.end, text, tag)

    def _clear(self) -> None:
        self._entries.clear()
        self._readonly.clear()
        self.text.mark_unset(*(name for name in self.text.mark_names() if name.startswith(("from", "to"))))

    def _drop_oldest(self) -> None:
        while len(self._entries) > MAX_EXCHANGES:
            oldest = self._entries.pop(0)
            self._readonly.delete("1.0", f"{oldest.end} + {len(GAP)} chars")
            self.text.mark_unset(oldest.start, oldest.end)
