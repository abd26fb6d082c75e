"""The conversation as it is shown: exchanges one under the other, each token drawn by how sure the model was of it.

A `Chat` is given exchanges and their tokens; it decides nothing about them.  Everything is inserted as plain text.
"""

from __future__ import annotations

import time
import tkinter
from dataclasses import dataclass

from wmkml.gui import look, shading
from wmkml.gui.exchange import Exchange
from wmkml.gui.quiet_text import QuietText
from wmkml.gui.words import Words, iteration

KEPT = 60
"""So many exchanges stay; older ones leave at the top."""

GAP = "\n\n"
"""Stands after each exchange."""

GLOW_SECONDS = 0.45
"""A token is warm for so long, before it takes its shade."""


@dataclass
class _Shown:
    exchange: Exchange
    start: str
    end: str


class Chat:
    """A text that nobody can write into, and what stands in it."""

    def __init__(self, parent: tkinter.Misc, dressed: look.Look) -> None:
        px = dressed.px
        self._quiet = QuietText(
            parent, wrap="word", height=4, font=dressed.answer, foreground=look.TEXT, spacing2=px(6)
        )
        self.text = text = self._quiet.text
        text.tag_configure("title", font=dressed.title, spacing1=px(120), spacing3=px(14))
        text.tag_configure("lead", font=dressed.lead, foreground=look.SOFT)
        text.tag_configure("prompt", font=dressed.prompt, foreground=look.SOFT, spacing3=px(10))
        text.tag_configure("own", foreground=look.mixed(look.GROUND, look.WARM, 0.85))
        text.tag_configure(
            "note", spacing1=px(6), font=dressed.small, foreground=look.mixed(look.GROUND, look.SOFT, 0.75)
        )
        text.tag_configure("waiting", foreground=look.WARM)
        text.tag_configure("gap", font=dressed.plain)
        self._fonts = shading.make_tags(text, dressed)
        text.tag_configure("glow", foreground=look.WARM)
        text.tag_raise("glow")
        self._shown: list[_Shown] = []
        self._count = 0
        self._total = 1
        self._glows_since: float | None = None

    @property
    def empty(self) -> bool:
        """Whether nobody has said anything."""
        return not self._shown

    def of(self, station: str) -> Exchange | None:
        """The newest exchange of a station, as far as it is shown."""
        found = self._newest(station)
        return found.exchange if found is not None else None

    def invite(self, lines: tuple[str, str]) -> None:
        """Show a title and a sentence in place of a conversation."""
        self._clear()
        for line, name in zip(lines, ("title", "lead"), strict=True):
            self._quiet.insert("end", line + "\n", name)

    def add(self, exchange: Exchange, own: bool, words: Words) -> None:
        """Somebody said something; its answer will stand below."""
        if not self._shown:
            self._clear()
        self._count += 1
        one = _Shown(exchange, f"from{self._count}", f"to{self._count}")
        place = self.text.index("end-1c")
        self._quiet.insert("end", GAP, "gap")
        self.text.mark_set(one.end, place)
        self._shown.append(one)
        prompt = exchange.prompt if own else f"{exchange.prompt}  ·  {words.elsewhere}"
        self._quiet.insert(one.end, prompt + "\n", *(("own", "prompt") if own else ("prompt",)))
        # What follows is written anew when an answer begins again or is complete; the prompt stands.
        self.text.mark_set(one.start, self.text.index(one.end))
        self.text.mark_gravity(one.start, "left")
        self._quiet.insert(one.end, "…", "waiting")
        self._drop_oldest()
        self._quiet.follow(again=own)

    def begin(self, station: str, number: int, total: int) -> None:
        """The answer begins, or begins anew, by iteration `number` of `total`."""
        if (one := self._newest(station)) is not None:
            one.exchange = one.exchange.begun(number)
            self._total = total
            self._rewrite(one, "…", "waiting")

    def grow(self, station: str, text: str, probability: float) -> None:
        """One more token."""
        one = self._newest(station)
        if one is None or one.exchange.complete:
            return
        if not one.exchange.tokens:
            self._rewrite(one)
        number = len(one.exchange.tokens)
        one.exchange = one.exchange.grown(text, probability)
        self._quiet.insert(one.end, text, self._tag(one.exchange, probability, number), "glow")
        self._glows_since = self._glows_since or time.monotonic()
        self._quiet.follow()

    def end(self, station: str, text: str, number: int, words: Words) -> None:
        """The answer is complete: `text` is what is kept of it."""
        if (one := self._newest(station)) is None:
            return
        one.exchange = one.exchange.ended(text, number)
        self._rewrite(one)
        for at, (token, probability) in enumerate(one.exchange.tokens):
            self._quiet.insert(one.end, token, self._tag(one.exchange, probability, at))
        self._quiet.insert(one.end, f"\n{words.iteration} {iteration(number, words)}", "note")
        self._quiet.follow()

    def break_off(self, station: str) -> None:
        """The answer will not come, or not to its end; what there is of it stays."""
        one = self._newest(station)
        if one is None or one.exchange.complete:
            return
        if not one.exchange.tokens:
            self._rewrite(one)
        one.exchange = one.exchange.broken()

    def scroll(self, pages: int) -> None:
        """Look at what was said before (−1) or after (1)."""
        self._quiet.scroll(pages)

    def tick(self) -> None:
        """What was said a moment ago takes its shade."""
        if self._glows_since is not None and time.monotonic() - self._glows_since > GLOW_SECONDS:
            self.text.tag_remove("glow", "1.0", "end")
            self._glows_since = None

    def _tag(self, exchange: Exchange, probability: float, number: int) -> str:
        answering = exchange.iteration if exchange.iteration is not None else -1
        return shading.tag(probability, shading.decay(answering, self._total), number)

    def _newest(self, station: str) -> _Shown | None:
        return next((one for one in reversed(self._shown) if one.exchange.station == station), None)

    def _rewrite(self, one: _Shown, text: str = "", tag: str = "") -> None:
        self._quiet.delete(one.start, one.end)
        if text:
            self._quiet.insert(one.end, text, tag)

    def _clear(self) -> None:
        self._shown.clear()
        self._quiet.clear()
        self.text.mark_unset(*(name for name in self.text.mark_names() if name.startswith(("from", "to"))))

    def _drop_oldest(self) -> None:
        while len(self._shown) > KEPT:
            gone = self._shown.pop(0)
            self._quiet.delete("1.0", f"{gone.end} + {len(GAP)} chars")
            self.text.mark_unset(gone.start, gone.end)
