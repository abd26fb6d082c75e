"""Show how likely every token of a text was to a model, and what it would rather have said.

    python -m wmkml probabilities "Eine Katze ist ein Tier." --generate 12
    python -m wmkml probabilities "Was ist eine Katze?" --chat --temperature 0.7 --html katze.html
    python -m wmkml probabilities "Eine Katze ist ein Tier." --prompt "Was ist eine Katze?" --compare base FOLDER
    python -m wmkml probabilities "Eine Katze" --generate 12 --interactive

Probability, rank, entropy (nats, over the whole vocabulary) and alternatives are raw: before temperature and penalties.
--temperature tells all of it once more at that temperature, in columns that name it. --interactive: choose a token, and go on
from there.
Exit status: 0 when the text was read, 2 when it cannot be.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.generation.arguments import add_speaker_arguments, speakers_of
from wmkml.system.disk.output_files import unwritable, unwritable_problem

if TYPE_CHECKING:
    from wmkml.generation.probabilities import TextReading
    from wmkml.generation.speaker import Speaker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the text; -, or nothing: standard input")
    parser.add_argument("--file", type=Path, metavar="FILE", help="read the text from this file")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--prompt", default="", metavar="TEXT", help="the text is the answer to this prompt")
    asked.add_argument("--chat", action="store_true", help="the text is a prompt, and the model's own answer is read")
    parser.add_argument(
        "--generate",
        type=int,
        metavar="N",
        help="go on with up to N tokens of the model's own (default: 0; 64 with --chat; 20 with --interactive)",
    )
    parser.add_argument(
        "--draw", action="store_true", help="draw these tokens (at --temperature, else 1) instead of the likeliest"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of --draw (default: 0)")
    add_speaker_arguments(parser, compared=True)
    parser.add_argument("--temperature", type=float, metavar="T", help="tell everything at this temperature, too")
    parser.add_argument("--alternatives", type=int, default=5, metavar="K", help="tokens that were likely (default: 5)")
    parser.add_argument(
        "--interactive",
        action="store_true",
        help="choose tokens and go on from there; what is written is the last text",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table, a token a row")
    parser.add_argument("--json", metavar="FILE", help="write it all as JSON there; -: print only that")


def main(arguments: argparse.Namespace) -> int:
    """Read and show.  Returns 2, with a sentence on stderr, when the text cannot be read."""
    from wmkml.dialogue.chat_template import MessagesRefusedError, PromptTooLongError
    from wmkml.generation.decoding import Decoding, DecodingError
    from wmkml.generation.probabilities import read_text
    from wmkml.generation.sources import SpeakerError

    if problem := unwritable_problem(arguments.html, arguments.csv, arguments.json):
        print(problem, file=sys.stderr)
        return 2
    continued = arguments.generate
    if continued is None:
        continued = 64 if arguments.chat else 20 if arguments.interactive else 0
    try:
        text = _text(arguments)
        if continued < 0:
            raise SpeakerError(f"--generate: {continued} is not allowed; allowed: at least 0.")
        drawn = (arguments.temperature or 1.0) if arguments.draw else 0.0
        decoding = Decoding(temperature=drawn, top_p=1.0, seed=arguments.seed)
        speakers = speakers_of(arguments)
        if arguments.interactive and len(speakers) > 1:
            raise SpeakerError("--interactive goes on with one model; leave --compare out.")
        readings = [
            read_text(
                speaker,
                text,
                prompt=arguments.prompt,
                as_prompt=arguments.chat,
                # Somebody who chooses begins with what is there; the model goes on once a choice was made.
                continued=0 if arguments.interactive and not arguments.chat else continued,
                decoding=decoding,
                temperature=arguments.temperature,
                alternatives=arguments.alternatives,
                on_read=_progress(speaker.label),
            )
            for speaker in speakers
        ]
        if arguments.interactive:
            readings = [_choose(speakers[0], readings[0], continued, decoding)]
        _write(arguments, readings)
    except (SpeakerError, DecodingError, PromptTooLongError, MessagesRefusedError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unwritable(error, arguments.html, arguments.csv, arguments.json), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was written.", file=sys.stderr)
        return 130
    if arguments.json == "-":
        print(json.dumps(as_json(readings), ensure_ascii=False))
    elif not arguments.interactive:
        _print(readings)
    return 0


def as_json(readings: list[TextReading]) -> dict[str, Any]:
    """Readings as JSON: for each model its summary and its tokens."""
    from dataclasses import asdict

    models = []
    for reading in readings:
        models.append(
            {
                "model": reading.label,
                "temperature": reading.temperature,
                "perplexity": reading.perplexity,
                "mean_entropy": reading.mean_entropy,
                "text": "".join(token.text for token in reading.shown),
                "tokens": [asdict(token) | {"surprise_bits": token.surprise} for token in reading.shown],
            }
        )
    return {"models": models}


def _text(arguments: argparse.Namespace) -> str:
    from wmkml.corpora.encodings import TextFile, detect_encoding
    from wmkml.corpora.pairs import CorpusError
    from wmkml.generation.sources import SpeakerError

    if arguments.file is not None and arguments.text is not None:
        raise SpeakerError("Give a text or --file, not both.")
    if arguments.file is not None:
        try:
            with TextFile(arguments.file, detect_encoding(arguments.file)).open() as stream:
                text = stream.read().strip()
        except CorpusError as error:
            raise SpeakerError(str(error)) from None
        except OSError as error:
            raise SpeakerError(f"{arguments.file} cannot be read: {error.strerror}.") from None
        if not text:
            raise SpeakerError(f"{arguments.file} is empty.")
        return text
    if arguments.text in (None, "-"):
        if sys.stdin.isatty():
            raise SpeakerError('Which text? python -m wmkml probabilities "Eine Katze ist ein Tier."')
        text = sys.stdin.read().strip() if not arguments.interactive else sys.stdin.readline().strip()
    else:
        text = str(arguments.text)
    if not text.strip():
        raise SpeakerError("The text is empty.")
    return text


def _progress(label: str) -> Any:
    """Says how far a long text was read, on a terminal."""
    from wmkml.generation.probabilities import CHUNK

    def on_read(done: int, total: int) -> None:
        if total > 4 * CHUNK and sys.stderr.isatty():
            end = "\r\x1b[K" if done >= total else ""
            print(f"\r\x1b[K{label}: {done} of {total} tokens{end}", end="", file=sys.stderr, flush=True)

    return on_read


def _print(readings: list[TextReading]) -> None:
    from rich.console import Console

    from wmkml.generation.colours import coloured, legend, number, token_table

    console = Console()
    for reading in readings:
        console.print(token_table(reading))
        entropy = number(reading.mean_entropy)
        console.print(f"perplexity {number(reading.perplexity)}, mean entropy {entropy} nats; raw", highlight=False)
    for reading in readings if console.is_terminal else ():
        console.print(f"[bold]{reading.label}, raw[/bold]", highlight=False)
        console.print(coloured(reading.shown))
        if reading.temperature is not None:
            console.print(f"[bold]{reading.label}, at temperature {reading.temperature:g}[/bold]", highlight=False)
            console.print(coloured(reading.shown, tempered=True))
    if console.is_terminal:
        console.print(legend())


def _write(arguments: argparse.Namespace, readings: list[TextReading]) -> None:
    from wmkml.generation.probabilities import to_frame
    from wmkml.generation.probability_page import probability_page

    if arguments.html is not None:
        arguments.html.write_text(probability_page(readings), encoding="utf-8")
        print(f"Written: {arguments.html}", file=sys.stderr)
    if arguments.csv is not None:
        to_frame(readings).to_csv(arguments.csv, index=False)
        print(f"Written: {arguments.csv}", file=sys.stderr)
    if arguments.json not in (None, "-"):
        text = json.dumps(as_json(readings), ensure_ascii=False, indent=1)
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")


def _choose(speaker: Speaker, reading: TextReading, continued: int, decoding: Any) -> TextReading:
    from rich.console import Console
    from rich.text import Text

    from wmkml.generation.colours import shade_of, visible
    from wmkml.generation.token_choice import TokenChoice, choose_tokens

    console = Console(stderr=True)

    def show(state: TextReading) -> None:
        text = Text()
        for token in state.shown:
            shade = shade_of(token.probability)
            text.append(f" {token.position}", "dim")
            text.append(visible(token.text), f"{shade.ink} on {shade.background}")
        console.print(text)

    show(reading)
    choice = TokenChoice(speaker, reading, continued, decoding)
    return choose_tokens(
        choice, input if sys.stdin.isatty() else _read_line, show, lambda line: print(line, file=sys.stderr)
    )


def _read_line(prompt: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
