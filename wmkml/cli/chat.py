"""Talk with any model in the terminal: it remembers what was said, and /help lists the commands.

    echo "Was ist eine Katze?" | python -m wmkml chat --seed 1
    python -m wmkml chat --adapter FOLDER --system "Du fasst dich kurz."
    python -m wmkml chat --few-shot react-en

Ctrl-C ends an answer that is under way; Ctrl-D or /quit ends the conversation. Nothing of it is kept, unless /save or --json
writes it.
Exit status: 0 at the end of the conversation, 2 when it cannot begin.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.generation.arguments import add_decoding_arguments, add_speaker_arguments, decoding_of, speakers_of
from wmkml.system.disk.output_files import unwritable, unwritable_problem

if TYPE_CHECKING:
    from wmkml.generation.comparison import Reply
    from wmkml.generation.conversation import TerminalTalk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--system", default="", metavar="TEXT", help="a system prompt")
    parser.add_argument("--few-shot", metavar="NAME|FILE", help="examples before the conversation")
    add_speaker_arguments(parser, compared=False)
    add_decoding_arguments(parser)
    parser.add_argument("--probabilities", action="store_true", help="colour the answers by their probabilities")
    parser.add_argument(
        "--json", metavar="FILE", help="write the conversation as chat JSONL at its end; -: print only that"
    )


def main(arguments: argparse.Namespace) -> int:
    """Talk.  Returns 2, with a sentence on stderr, when it cannot begin."""
    from wmkml.generation.conversation import TerminalTalk
    from wmkml.generation.decoding import DecodingError
    from wmkml.generation.few_shot import load_few_shot
    from wmkml.generation.sources import SpeakerError

    if problem := unwritable_problem(arguments.json):
        # Said now: at the end of a long talk it would be lost.
        print(problem, file=sys.stderr)
        return 2
    quiet = arguments.json == "-"
    try:
        few_shot = load_few_shot(arguments.few_shot) if arguments.few_shot else None
        decoding = decoding_of(arguments, stop=few_shot.stop if few_shot else ())
        (speaker,) = speakers_of(arguments)
        decoding.end_ids(speaker)
    except (SpeakerError, DecodingError) as error:
        print(error, file=sys.stderr)
        return 2
    conversation = TerminalTalk(
        speaker,
        decoding,
        arguments.system,
        few_shot,
        arguments.probabilities,
        on_text=_ignore if quiet else _print_piece,
        on_reply=_ignore_reply if quiet else _print_reply,
        tell=_tell,
    )
    if sys.stdin.isatty():
        _tell(f"{speaker.label} answers. /help lists the commands, Ctrl-D ends.")
        if few_shot and few_shot.prompts:
            _tell("For instance: " + " — ".join(few_shot.prompts))
    _talk(conversation)
    try:
        if quiet:
            print(conversation.as_json())
        elif arguments.json:
            Path(arguments.json).write_text(conversation.as_json() + "\n", encoding="utf-8")
    except OSError as error:
        print(unwritable(error, arguments.json), file=sys.stderr)
        return 2
    return 0


def _talk(conversation: TerminalTalk) -> None:
    import contextlib

    from wmkml.dialogue.chat_template import MessagesRefusedError, PromptTooLongError
    from wmkml.generation.sources import SpeakerError

    with contextlib.suppress(ImportError):
        # Arrow keys and the lines before, where this Python has them (not on Windows).
        import readline  # noqa: F401
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return
        try:
            if not conversation.hear(line):
                return
        except (SpeakerError, MessagesRefusedError, PromptTooLongError) as error:
            print(error, file=sys.stderr)
        except KeyboardInterrupt:
            print("\n(That answer is forgotten.)", file=sys.stderr)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print_piece(text: str) -> None:
    print(text, end="", flush=True)


def _print_reply(reply: Reply) -> None:
    """The line's end behind a streamed answer; a coloured answer as a whole, and what was not streamed."""
    if reply.readings:
        from rich.console import Console

        from wmkml.generation.colours import coloured, token_table

        console = Console()
        console.print(coloured(reply.readings[0].shown) if console.is_terminal else token_table(reply.readings[0]))
    else:
        print(flush=True)
    if reply.dropped:
        _tell(f"(The oldest {reply.dropped} messages no longer fit the model's window.)")


def _ignore(text: str) -> None:
    """Where only JSON is printed."""


def _ignore_reply(reply: Reply) -> None:
    """Where only JSON is printed."""
