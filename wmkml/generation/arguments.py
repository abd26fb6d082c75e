"""The command-line arguments that `generate`, `chat`, `probabilities` and `poetry` share, and what they mean."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from wmkml.config import UNDERSTUDY
from wmkml.generation.decoding import Decoding
from wmkml.generation.sources import SpeakerError, SpeakerSource, find_source, with_adapter
from wmkml.generation.speaker import AUTO, UNQUANTIZED, Speaker, load_speakers, print_loading, template_choices
from wmkml.models.devices import add_device_argument

BASE = "base"
"""In --compare: the model of --model without an adapter."""


def add_speaker_arguments(parser: argparse.ArgumentParser, *, compared: bool) -> None:
    """Add what says who speaks; `compared`: several may."""
    parser.add_argument(
        "--model",
        default="",
        metavar="PATH_OR_ID",
        help="a model's folder, or the id of one that was fetched (default: the adapter's own, else understudy)",
    )
    parser.add_argument(
        "--adapter", type=Path, metavar="FOLDER", help="a LoRA adapter, a finetuning's folder, or a run (its newest)"
    )
    if compared:
        parser.add_argument(
            "--compare",
            nargs="+",
            default=[],
            metavar="NAME",
            help="models, adapters, MODEL+ADAPTER, or base (--model without adapter), side by side; stands last",
        )
        parser.add_argument("--labels", metavar="NAME,NAME", help="what they are called (default: their names)")
    parser.add_argument(
        "--template",
        default=AUTO,
        metavar="NAME|FILE",
        help=f"what stands around prompts: {template_choices()}, or a file (default: auto, the one it was taught with)",
    )
    add_device_argument(parser)
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="number format of the weights (default: auto: float32 on a CPU, 16 bits on a GPU)",
    )
    parser.add_argument(
        "--quantize",
        choices=("none", "nf4", "int8"),
        default=UNQUANTIZED,
        help="take the weights in 4 or 8 bits, as finetuning can, where an NVIDIA GPU is too small for 16 (default: none)",
    )


def add_decoding_arguments(parser: argparse.ArgumentParser, *, max_tokens: int = 256) -> None:
    """Add what says how answers are drawn."""
    parser.add_argument("--max-tokens", type=int, default=max_tokens, metavar="N", help=f"default: {max_tokens}")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="0: the likeliest token each time (default: 0.7; 0 with --beams)"
    )
    parser.add_argument("--top-p", type=float, default=0.9, metavar="P", help="default: 0.9")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="draw among the K likeliest (default: all)")
    parser.add_argument("--beams", type=int, default=1, metavar="N", help="follow N texts side by side (default: 1)")
    parser.add_argument(
        "--no-repeat-ngram", type=int, default=0, metavar="N", help="no sequence of N tokens twice (default: allowed)"
    )
    parser.add_argument("--repetition-penalty", type=float, default=1.0, metavar="X", help="default: 1, none")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; repeatable")
    parser.add_argument("--stop-id", action="append", type=int, default=[], metavar="ID", help="end at this token too")
    parser.add_argument("--seed", type=int, metavar="N", help="draw the same again (default: another each time)")


def decoding_of(arguments: argparse.Namespace, *, count: int = 1, stop: tuple[str, ...] = ()) -> Decoding:
    """How answers are drawn by these arguments.

    Args:
        stop: texts that end an answer beside those of the arguments.

    Raises:
        DecodingError: they cannot be used.
    """
    chosen = {} if arguments.seed is None else {"seed": arguments.seed}
    return Decoding(
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        beams=arguments.beams,
        no_repeat_ngram=arguments.no_repeat_ngram,
        repetition_penalty=arguments.repetition_penalty,
        stop=(*(text.replace("\\n", "\n") for text in arguments.stop), *stop),
        stop_ids=tuple(arguments.stop_id),
        count=count,
        **chosen,
    )


def sources_of(arguments: argparse.Namespace) -> list[SpeakerSource]:
    """Who speaks by these arguments.

    Raises:
        SpeakerError: there is no such model or adapter, or the labels do not fit.
    """
    names: list[str] = getattr(arguments, "compare", [])
    sources: list[SpeakerSource] = []
    if arguments.adapter is not None:
        sources.append(with_adapter(arguments.model, arguments.adapter))
    elif not names:
        sources.append(find_source(arguments.model or UNDERSTUDY))
    for name in names:
        if name == BASE and not Path(name).exists():
            # Beside an adapter that names its model, base is that model.
            known = next((source.model for source in sources), None)
            sources.append(SpeakerSource(BASE, find_source(arguments.model or str(known or UNDERSTUDY)).model))
            continue
        try:
            sources.append(find_source(name, arguments.model))
        except SpeakerError as error:
            blank = " Was it meant as the prompt? It stands before --compare." if " " in name else ""
            raise SpeakerError(f"{error}{blank}") from None
    given = getattr(arguments, "labels", None)
    labels = [label.strip() for label in given.split(",")] if given else [source.label for source in sources]
    if len(labels) != len(sources):
        raise SpeakerError(f"--labels: {len(labels)} names for {len(sources)} models. Give one for each.")
    if doubled := [label for label, count in Counter(labels).items() if count > 1 or not label]:
        raise SpeakerError(f"Two of them are called {doubled[0]}. Tell them apart with --labels A,B.")
    return [SpeakerSource(label, source.model, source.adapter) for label, source in zip(labels, sources, strict=True)]


def speakers_of(arguments: argparse.Namespace) -> list[Speaker]:
    """Load who speaks by these arguments, and say so on standard error.

    Raises:
        SpeakerError: something cannot be loaded.
    """
    return load_speakers(
        sources_of(arguments),
        device=arguments.device,
        dtype=arguments.dtype,
        quantize=arguments.quantize,
        template=arguments.template,
        on_loading=print_loading,
    )
