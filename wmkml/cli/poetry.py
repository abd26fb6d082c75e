"""Make poems of a tokenizer: a model's haiku, whose tokens are moved, mapped or led astray before they become words again.

    python -m wmkml poetry --count 3 --transform walk:1 reverse --seed 1
    python -m wmkml poetry --transform shift:1 --html poetry.html
    python -m wmkml poetry --file poems.txt --train-tokenizer story.txt --read-with trained --html poetry.html

Each poem is written with a tokenizer, its ids are transformed in the order given, and read with the same tokenizer or another;
--translate writes what is read with another model's tokens. --html shows every step. The same seed makes the same poems.

transformations: shift:N (N places further in the vocabulary), reverse, sort (by id), swap (with the neighbour), swap:N (N
pairs by chance), map:VOCABULARY (looked up in another vocabulary, and its place there read as one here), walk:N (N steps to
near tokens in embedding space).
A vocabulary is a model's name or folder, or `trained`, which --train-tokenizer makes.
Exit status: 0 when poems were made, 2 when they cannot be, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wmkml.generation.arguments import add_speaker_arguments, sources_of, speakers_of
from wmkml.system.disk.output_files import unwritable, unwritable_problem

if TYPE_CHECKING:
    from wmkml.laboratory.poetry.poems import Poem
    from wmkml.laboratory.poetry.steps import TokenPoem
    from wmkml.laboratory.poetry.vocabularies import Vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--count", type=int, default=25, metavar="N", help="haiku that the model writes (default: 25)")
    parser.add_argument("--language", choices=("de", "en"), default="de", help="of the haiku (default: de)")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="take the poems of this file, between empty lines, instead"
    )
    add_speaker_arguments(parser, compared=False)
    parser.add_argument(
        "--tokenizer",
        default="",
        metavar="VOCABULARY",
        help="what the poems are written with (default: the model's own)",
    )
    parser.add_argument(
        "--train-tokenizer",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="train a byte-level BPE on these words",
    )
    parser.add_argument(
        "--vocabulary", type=int, default=1000, metavar="N", help="tokens of the trained one (default: 1000)"
    )
    parser.add_argument(
        "--transform", nargs="+", default=[], metavar="NAME", help="what is done to the ids, in this order"
    )
    parser.add_argument(
        "--read-with", default="", metavar="VOCABULARY", help="read the ids' places with this (default: same)"
    )
    parser.add_argument(
        "--translate", default="", metavar="VOCABULARY", help="write what is read with this one's tokens"
    )
    parser.add_argument("--whole", action="store_true", help="transform across lines (default: each line by itself)")
    parser.add_argument(
        "--temperature", type=float, default=0.9, metavar="T", help="of the model's haiku (default: 0.9)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of haiku and transformations (default: 0)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that shows each step")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table, a step a row")
    parser.add_argument("--json", metavar="FILE", help="write all steps as JSON there; -: print only that")


def main(arguments: argparse.Namespace) -> int:
    """Make the poems.  Returns 2, with a sentence on stderr, when they cannot be made."""
    from wmkml.generation.decoding import DecodingError
    from wmkml.generation.sources import SpeakerError
    from wmkml.laboratory.poetry.poems import PoetryError
    from wmkml.laboratory.poetry.steps import make_token_poems, to_json
    from wmkml.laboratory.poetry.transformations import parse_transformation

    if problem := unwritable_problem(arguments.html, arguments.csv, arguments.json):
        print(problem, file=sys.stderr)
        return 2
    try:
        poems, vocabularies = _poems_and_vocabularies(arguments)
        # The one that is trained is what the poems are written with, unless another is named.
        vocabulary = vocabularies[arguments.tokenizer]
        named = {name: other for name, other in vocabularies.items() if name}
        transformations = [parse_transformation(text, vocabulary, named) for text in arguments.transform]
        made = make_token_poems(
            poems,
            vocabulary,
            transformations,
            read_with=vocabularies[arguments.read_with] if arguments.read_with else None,
            translated=vocabularies[arguments.translate] if arguments.translate else None,
            seed=arguments.seed,
            whole=arguments.whole,
        )
        _write(arguments, made)
    except (PoetryError, SpeakerError, DecodingError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unwritable(error, arguments.html, arguments.csv, arguments.json), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was written.", file=sys.stderr)
        return 130
    if arguments.json == "-":
        print(json.dumps(to_json(made, arguments.seed), ensure_ascii=False))
    else:
        _print(made)
    return 0


def _poems_and_vocabularies(arguments: argparse.Namespace) -> tuple[list[Poem], dict[str, Vocabulary]]:
    """The poems, and every vocabulary that the arguments name, by that name; the empty name is what they are written with."""
    from wmkml.generation.decoding import Decoding
    from wmkml.generation.sources import find_source
    from wmkml.laboratory.poetry.poems import PoetryError, read_poems, write_haiku
    from wmkml.laboratory.poetry.transformations import parse_transformation
    from wmkml.laboratory.poetry.vocabularies import TRAINED, Vocabulary, load_vocabulary, train_vocabulary
    from wmkml.laboratory.progress import Progress

    decoding = Decoding(max_tokens=64, temperature=arguments.temperature, seed=arguments.seed)
    poems = read_poems(arguments.file) if arguments.file is not None else []
    vocabularies: dict[str, Vocabulary] = {}
    if arguments.train_tokenizer:
        vocabularies[TRAINED] = train_vocabulary(arguments.train_tokenizer, arguments.vocabulary)
    maps = [text.partition(":")[2] for text in arguments.transform if text.startswith("map:")]
    for name in filter(None, (arguments.tokenizer, arguments.read_with, arguments.translate, *maps)):
        if name == TRAINED and name not in vocabularies:
            raise PoetryError("There is no trained tokenizer: give --train-tokenizer FILES.")
        if name not in vocabularies:
            vocabularies[name] = load_vocabulary(find_source(name).model, name)
    walks = any(text.partition(":")[0] == "walk" for text in arguments.transform)
    source = sources_of(arguments)[0]
    if poems and not walks:
        own = load_vocabulary(source.model, source.label)
    else:
        (speaker,) = speakers_of(arguments)
        own = Vocabulary(source.label, speaker.tokenizer, speaker.network.get_input_embeddings().weight)
    if arguments.tokenizer and _model_of(arguments.tokenizer, TRAINED) == source.model:
        # The model's own tokenizer by its name: then it has the model's embeddings.
        vocabularies[arguments.tokenizer] = own
    elif not arguments.tokenizer:
        asked_trained = arguments.train_tokenizer and TRAINED not in (arguments.read_with, arguments.translate, *maps)
        vocabularies[""] = vocabularies[TRAINED] if asked_trained else own
    # What cannot be done is said before a model writes for a minute.
    named = {name: other for name, other in vocabularies.items() if name}
    for text in arguments.transform:
        parse_transformation(text, vocabularies[arguments.tokenizer], named)
    if not poems:
        progress = Progress()
        progress.where = source.label
        poems = write_haiku(
            speaker, decoding, arguments.count, arguments.language,
            lambda done, total: progress("haiku written", done, total),
        )  # fmt: skip
        progress.print_line(f"{len(poems)} haiku written.")
    return poems, vocabularies


def _model_of(name: str, trained: str) -> Path | None:
    """The folder of the model that a vocabulary's name means; None: it was trained on the spot."""
    from wmkml.generation.sources import find_source

    return None if name == trained else find_source(name).model


def _write(arguments: argparse.Namespace, made: list[TokenPoem]) -> None:
    from wmkml.laboratory.poetry.page import poetry_page
    from wmkml.laboratory.poetry.steps import to_frame, to_json

    if arguments.html is not None:
        steps = ", ".join(step.label for step in made[0].steps)
        note = f"{len(made)} poems, seed {arguments.seed}; steps: {steps}."
        arguments.html.write_text(poetry_page(made, note, arguments.language), encoding="utf-8")
        print(f"Written: {arguments.html}", file=sys.stderr)
    if arguments.csv is not None:
        to_frame(made).to_csv(arguments.csv, index=False)
        print(f"Written: {arguments.csv}", file=sys.stderr)
    if arguments.json not in (None, "-"):
        text = json.dumps(to_json(made, arguments.seed), ensure_ascii=False, indent=1)
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")


def _print(made: list[TokenPoem]) -> None:
    """What became of each poem, behind its title."""
    for number, poem in enumerate(made, 1):
        print(f"{'' if number == 1 else chr(10)}{number}. {poem.poem.title}\n\n{poem.steps[-1].text}")
