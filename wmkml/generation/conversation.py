"""A talk with a speaker in a terminal: what was said is remembered, and lines that begin with / are commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.generation.comparison import Reply, ask
from wmkml.generation.decoding import DecodingError
from wmkml.generation.few_shot import FewShot, with_examples

if TYPE_CHECKING:
    from wmkml.dialogue.chat_template import Message
    from wmkml.generation.decoding import Decoding
    from wmkml.generation.speaker import Speaker

HELP = """\
/again            answer the last prompt anew, with the next seed
/undo             forget the last exchange
/clear            forget all of them
/history          show what was said
/system TEXT      set the system prompt; without a text: none
/set NAME VALUE   temperature, top_p, top_k, beams, no_repeat_ngram, repetition_penalty, max_tokens or seed
/probabilities    colour the answers by their probabilities, or stop it
/save FILE        write the conversation as JSON; it is a chat that `wmkml corpus` and `finetune` read
/help, /quit"""

NUMBERS = ("top_k", "beams", "no_repeat_ngram", "max_tokens", "seed")
SETTINGS = ("temperature", "top_p", "repetition_penalty", *NUMBERS)


@dataclass
class TerminalTalk:
    """What was said, and how it goes on.

    Attributes:
        on_text: is called with every piece of an answer as it comes; with all of it at its end where there are beams.
        on_reply: is called with every whole answer.
        tell: is called with what a command has to say.
    """

    speaker: Speaker
    decoding: Decoding
    system: str = ""
    few_shot: FewShot | None = None
    probabilities: bool = False
    on_text: Callable[[str], None] = lambda text: None
    on_reply: Callable[[Reply], None] = lambda reply: None
    tell: Callable[[str], None] = print
    turns: list[Message] = field(default_factory=list)

    def hear(self, line: str) -> bool:
        """Answer a line, or do what a command says.  Returns False when the conversation is over.

        Raises:
            As `answering.answer`: the prompt cannot be asked; it is forgotten.
        """
        if not line.strip():
            return True
        if not line.startswith("/"):
            self._answer(line)
            return True
        word, _, rest = line.strip().partition(" ")
        return self._obey(word, rest.strip())

    def messages(self) -> list[Message]:
        """The conversation so far, its system prompt first."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    def _answer(self, prompt: str) -> None:
        messages = with_examples([*self.messages(), {"role": "user", "content": prompt}], self.few_shot)
        on_text = None if self.probabilities else self.on_text
        reply = ask(self.speaker, messages, self.decoding, probabilities=self.probabilities, on_text=on_text)
        if on_text is not None and self.decoding.beams > 1:
            # Beams are not streamed: which of them is the answer is known last.
            on_text(reply.answers[0].text)
        self.turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply.answers[0].text}]
        self.on_reply(reply)

    def _obey(self, word: str, rest: str) -> bool:
        match word:
            case "/quit" | "/exit" | "/q":
                return False
            case "/help":
                self.tell(HELP)
            case "/clear":
                self.turns.clear()
                self.tell("All is forgotten.")
            case "/undo":
                del self.turns[-2:]
                self.tell(f"{len(self.turns) // 2} exchanges are left.")
            case "/again" if self.turns:
                prompt = self.turns[-2]["content"]
                del self.turns[-2:]
                self.decoding = replace(self.decoding, seed=self.decoding.seed + 1)
                self._answer(prompt)
            case "/again":
                self.tell("Nothing was asked yet.")
            case "/history":
                self.tell("\n".join(f"{turn['role']}: {turn['content']}" for turn in self.messages()) or "Nothing yet.")
            case "/system":
                self.system = rest
                self.tell(f"The system prompt is: {rest}" if rest else "There is no system prompt.")
            case "/probabilities":
                self.probabilities = not self.probabilities
                self.tell("Answers are coloured." if self.probabilities else "Answers are streamed, without colours.")
            case "/set":
                self._set(*rest.partition(" ")[::2])
            case "/save":
                self._save(rest)
            case _:
                self.tell(
                    f"There is no command {word}. /help lists them; a prompt that begins with / needs a blank before."
                )
        return True

    def _set(self, name: str, value: str) -> None:
        name = name.replace("-", "_")
        if name not in SETTINGS:
            self.tell(f"There is no setting {name or 'without a name'}; there are: {', '.join(SETTINGS)}.")
            return
        try:
            parsed = int(value) if name in NUMBERS else float(value)
            self.decoding = replace(self.decoding, **{name: parsed})  # type: ignore[arg-type]  # the names are SETTINGS
        except DecodingError as error:
            self.tell(str(error))
        except ValueError:
            self.tell(f"{value or 'Nothing'} is no number for {name}.")
        else:
            self.tell(f"{name} is {parsed:g}.")

    def _save(self, name: str) -> None:
        if not name:
            self.tell("Where to? /save FILE")
            return
        try:
            Path(name).write_text(self.as_json() + "\n", encoding="utf-8")
        except OSError as error:
            self.tell(f"{name} cannot be written: {error.strerror}.")
        else:
            self.tell(f"Written: {name}")

    def as_json(self) -> str:
        """The conversation as a line of chat JSONL."""
        return json.dumps({"messages": self.messages()}, ensure_ascii=False)
