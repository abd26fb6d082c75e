"""Let any model, with an adapter or without, answer prompts; the answer is printed last, as it comes.

    python -m wmkml generate "Was ist eine Katze?" --seed 1
    python -m wmkml generate --model understudy --adapter FOLDER "Was ist eine Katze?"
    python -m wmkml generate "Was ist eine Katze?" --beams 5 --no-repeat-ngram 2 --compare base FOLDER
    python -m wmkml generate --few-shot chain-of-thought-de --probabilities

Prompts come from the arguments, --file, or standard input, one a line; with --chat the lines are the turns of one
conversation. Where there is none, --few-shot asks the prompts that its file brings (docs/generating.md).
Exit status: 0 when all was answered, 2 when it cannot begin, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.generation.arguments import add_decoding_arguments, add_speaker_arguments, decoding_of, speakers_of
from wmkml.system.disk.output_files import unwritable, unwritable_problem

if TYPE_CHECKING:
    from wmkml.dialogue.chat_template import Message
    from wmkml.generation.comparison import Reply
    from wmkml.generation.decoding import Decoding
    from wmkml.generation.few_shot import FewShot
    from wmkml.generation.speaker import Speaker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="what is asked; -: standard input")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="prompts: .txt, one a line; any other form of docs/corpora.md"
    )
    parser.add_argument("--chat", action="store_true", help="the prompts are the turns of one conversation")
    parser.add_argument("--system", default="", metavar="TEXT", help="a system prompt")
    parser.add_argument(
        "--few-shot", metavar="NAME|FILE", help="examples before each prompt: a shipped file, one of its form, or pairs"
    )
    add_speaker_arguments(parser, compared=True)
    add_decoding_arguments(parser)
    parser.add_argument("--n", type=int, default=1, metavar="N", help="answers to each prompt (default: 1)")
    parser.add_argument(
        "--probabilities", action="store_true", help="colour every token by its probability before temperature"
    )
    parser.add_argument("--json", metavar="FILE", help="write prompts and answers as JSON there; -: print only that")


def main(arguments: argparse.Namespace) -> int:
    """Answer.  Returns 2, with a sentence on stderr, when it cannot begin."""
    from wmkml.dialogue.chat_template import MessagesRefusedError, PromptTooLongError
    from wmkml.generation.decoding import DecodingError
    from wmkml.generation.few_shot import load_few_shot
    from wmkml.generation.prompts import conversations_of
    from wmkml.generation.sources import SpeakerError

    if problem := unwritable_problem(arguments.json):
        print(problem, file=sys.stderr)
        return 2
    try:
        few_shot = load_few_shot(arguments.few_shot) if arguments.few_shot else None
        conversations = conversations_of(arguments.prompts, arguments.file, arguments.system)
        if not conversations and few_shot is not None and few_shot.prompts:
            conversations = conversations_of(few_shot.prompts, None, arguments.system)
        if not conversations:
            print('What is asked? Give a prompt: python -m wmkml generate "Was ist eine Katze?"', file=sys.stderr)
            return 2
        decoding = decoding_of(arguments, count=arguments.n, stop=few_shot.stop if few_shot else ())
        if arguments.chat and decoding.count > 1:
            raise DecodingError("--chat goes on with one answer; --n gives several.")
        speakers = speakers_of(arguments)
        for speaker in speakers:
            decoding.end_ids(speaker)
        replies = _ask_all(arguments, speakers, conversations, few_shot, decoding)
        if arguments.json:
            _write_json(arguments.json, replies, decoding)
    except (SpeakerError, DecodingError, PromptTooLongError, MessagesRefusedError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unwritable(error, arguments.json), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    return 0


def _ask_all(
    arguments: argparse.Namespace,
    speakers: list[Speaker],
    conversations: list[list[Message]],
    few_shot: FewShot | None,
    decoding: Decoding,
) -> list[Reply]:
    """Ask everything of everybody, and print it as it comes; several speakers' answers as a table at the end."""
    from wmkml.generation.comparison import ask
    from wmkml.generation.few_shot import with_examples

    quiet = arguments.json == "-"
    alone = len(speakers) == 1
    streamed = alone and not quiet and not arguments.probabilities
    progress = _TokenProgress(not (streamed and decoding.count == 1 and decoding.beams == 1))
    replies: list[Reply] = []
    pasts: list[list[Message]] = [[] for _ in speakers]
    for number, conversation in enumerate(conversations, 1):
        for speaker, past in zip(speakers, pasts, strict=True):
            turns = _next_turn(conversation, past) if arguments.chat else conversation
            messages = with_examples(turns, few_shot)
            if streamed and len(conversations) > 1:
                print(f"{'' if number == 1 else chr(10)}> {messages[-1]['content']}", flush=True)
            progress.where = f"{speaker.label}, prompt {number} of {len(conversations)}"
            reply = ask(
                speaker,
                messages,
                decoding,
                probabilities=arguments.probabilities,
                on_text=_print_piece if streamed else None,
                on_token=progress,
            )
            progress.close()
            if reply.dropped:
                print(f"{speaker.label}: {reply.dropped} messages did not fit and were left out.", file=sys.stderr)
            if alone and not quiet:
                _print(reply, decoding, arguments.probabilities, len(conversations) > 1)
            replies.append(reply)
            past[:] = [*turns, {"role": "assistant", "content": reply.answers[0].text}]
    if not alone and not quiet:
        from rich.console import Console

        from wmkml.generation.comparison import side_by_side

        Console().print(side_by_side(replies))
    return replies


def _next_turn(conversation: list[Message], past: list[Message]) -> list[Message]:
    """What one speaker is asked next: its own conversation so far, and the last prompt of this one.

    What stands before that prompt in a file is the conversation that the file has, of which this one takes the place; at the
    beginning it is where this one goes on.
    """
    return [*past, conversation[-1]] if past else conversation


def _print(reply: Reply, decoding: Decoding, probabilities: bool, several: bool) -> None:
    if probabilities:
        from rich.console import Console

        from wmkml.generation.colours import coloured, legend, token_table

        console = Console()
        if several:
            print(f"\n> {reply.prompt}")
        for reading in reply.readings:
            # Without colours the numbers themselves.
            console.print(coloured(reading.shown) if console.is_terminal else token_table(reading))
        if console.is_terminal:
            console.print(legend())
        return
    if len(reply.answers) > 1:
        for number, answer in enumerate(reply.answers, 1):
            print(f"[{number}] {answer.text}", flush=True)
    elif decoding.beams > 1:
        print(reply.answers[0].text, flush=True)
    else:
        print(flush=True)


def _print_piece(text: str) -> None:
    print(text, end="", flush=True)


class _TokenProgress:
    """Counts tokens on standard error where nothing is streamed: a line that is overwritten, or one each EVERY seconds."""

    EVERY = 5.0

    def __init__(self, shown: bool) -> None:
        self._shown, self._open, self._written_at = shown, False, time.monotonic()
        self.where = ""

    def __call__(self, count: int) -> None:
        if not self._shown:
            return
        text = f"{self.where}: {count} tokens"
        if sys.stderr.isatty():
            self._open = True
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._written_at >= self.EVERY:
            self._written_at = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the line away."""
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._open = False


def _write_json(target: str, replies: list[Reply], decoding: Decoding) -> None:
    from wmkml.generation.comparison import to_json

    content: dict[str, Any] = to_json(replies, decoding)
    if target == "-":
        print(json.dumps(content, ensure_ascii=False))
        return
    Path(target).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
