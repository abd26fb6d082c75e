"""Measure what finetuning does to a language: what models expect next, and how diverse their answers are.

    python -m wmkml analyse understudy --corpus examples/corpora/story.txt
    python -m wmkml analyse data/laboratory/life/seed-1 --corpus text.jsonl.zst --prompts --quick --out results/life
    python -m wmkml analyse ORG/BASE ORG/SFT my-adapter --labels PLM,SFT,DPO --corpus text.jsonl --prompts --out results/dpo
    python -m wmkml analyse ORG/NAME ORG/NAME --revision step1000,step143000 --corpus text.txt --device cuda
    python -m wmkml analyse --answers examples/answers/base.jsonl examples/answers/tuned.jsonl --labels base,tuned

MODEL: understudy, a folder with a model or a PEFT adapter, ORG/NAME of the hub, a run's folder (its base model and every
iteration), or RUN:K (iteration K of it). --corpus measures next tokens, --prompts makes answers and measures them,
--answers measures answers made elsewhere. docs/analysis.md tells what the numbers are.
Exit status: 0 when all was measured, 1 when it broke off, 2 when it cannot begin, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmkml.models.devices import add_device_argument
from wmkml.system.disk.output_files import unwritable, unwritable_problem

if TYPE_CHECKING:
    import torch

    from wmkml.laboratory.analysis.answers import AnswerSet
    from wmkml.laboratory.analysis.asking import MakingOptions
    from wmkml.laboratory.analysis.prompts import AskedPrompt
    from wmkml.laboratory.analysis.sources import ModelSource
    from wmkml.laboratory.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="models, adapters, run folders or RUN:K")
    models = parser.add_argument_group("models")
    models.add_argument("--labels", metavar="NAME,NAME", help="what they are called in tables and figures")
    models.add_argument("--revision", metavar="NAME[,NAME]", help="of hub models: one for all, or one for each MODEL")
    models.add_argument("--base", default="", metavar="MODEL", help="the base of adapters that name another, or none")
    add_device_argument(models)
    models.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="data type of the weights (default: float32 on a CPU, else bfloat16)",
    )
    corpus = parser.add_argument_group("next-token diversity")
    corpus.add_argument(
        "--corpus", type=Path, nargs="+", default=[], metavar="FILE", help=".jsonl, .jsonl.zst, .txt or .txt.zst"
    )
    corpus.add_argument("--max-docs", type=int, metavar="N", help="documents of each file at most (default: all)")
    corpus.add_argument("--text-field", default="text", metavar="NAME", help="of a line of JSON (default: text)")
    corpus.add_argument(
        "--window", type=int, metavar="N", help="tokens read at once (default: the models' own, 2048 at most)"
    )
    corpus.add_argument("--stride", type=int, metavar="N", help="tokens predicted per window (default: the window)")
    prompts = parser.add_argument_group("output diversity")
    prompts.add_argument(
        "--prompts",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="make answers to these lists (YAML), or to our own creative and factual prompts if no FILE is given",
    )
    prompts.add_argument("--seen", metavar="SOURCE", help="also ask prompts of this run, file or data set")
    prompts.add_argument(
        "--language",
        default="",
        metavar="NAME",
        help="of our lists (default: en), and of the answers of --answers whose "
        "lines name none (default: not known, so that they are not measured by meaning)",
    )
    prompts.add_argument("--temperatures", metavar="T,T", help="default: 0.1, 0.2, … 1.5")
    prompts.add_argument("--completions", type=int, metavar="N", help="answers to each prompt (default: 25)")
    prompts.add_argument("--quick", action="store_true", help="temperatures 0.7 and 1.0, and 10 answers")
    prompts.add_argument("--max-tokens", type=int, default=100, metavar="N", help="of an answer (default: 100)")
    prompts.add_argument("--top-p", type=float, default=1.0, metavar="SHARE", help="default: 1, nothing is cut")
    prompts.add_argument("--seed", type=int, default=0, metavar="N", help="of the answers (default: 0)")
    prompts.add_argument(
        "--format", choices=("auto", "chat", "plain"), default="auto", help="prompt format (default: the model's own)"
    )
    prompts.add_argument("--system", default="", metavar="TEXT", help="a system prompt (default: none)")
    prompts.add_argument(
        "--engine", choices=("auto", "vllm", "transformers"), default="auto", help="auto: vLLM on a GPU that has it"
    )
    prompts.add_argument("--batch", type=int, default=128, metavar="N", help="answers at once (default: 128)")
    prompts.add_argument(
        "--answers", type=Path, nargs="+", metavar="FILE", help="measure these files of answers in place of models"
    )
    prompts.add_argument(
        "--max-num-words", type=int, metavar="N", help="cut answers after N words (default: not at all)"
    )
    prompts.add_argument(
        "--cluster-threshold",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="Jaccard similarity of pairs of words, above 0 to 1, from which answers form a cluster (default: 0.5)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="tables (CSV, Markdown), figures (PNG, SVG), answers (HTML), and what is needed to go on "
        "(default with MODEL: a new folder in `analysis` of the data folder; with --answers: none)",
    )
    output.add_argument("--resume", action="store_true", help="go on in --out where it was interrupted")
    output.add_argument("--json", metavar="FILE", help="write what was measured as JSON there; -: print only that")


def main(arguments: argparse.Namespace) -> int:
    """Measure.  Returns 2, with a sentence on stderr, when it cannot begin."""
    if problem := _argument_problem(arguments):
        print(problem, file=sys.stderr)
        return 2
    # Imported here: `--help` must not wait for torch.
    from wmkml.engine.protocol import EngineDiedError
    from wmkml.laboratory.analysis.answers import AnswersError
    from wmkml.laboratory.progress import Progress

    refusals: tuple[type[Exception], ...] = (AnswersError,)
    broken: tuple[type[Exception], ...] = (EngineDiedError,)
    try:
        if arguments.answers:
            return _report(
                arguments, *_measure_answers(arguments, arguments.answers, _labels(arguments), Progress()), {}
            )
        from wmkml.config import ConfigError
        from wmkml.engine.setup import ModelUnusableError
        from wmkml.laboratory.analysis import loading, making, prompts, sources
        from wmkml.laboratory.analysis.next_token import documents, measuring, scoring
        from wmkml.models.devices import DeviceMissingError
        from wmkml.models.download import DownloadError

        refusals += (sources.SourceError, loading.MemoryShortError, prompts.PromptsError, documents.CorpusFileError)
        refusals += (measuring.StateMismatchError, making.AnswersMismatchError, DownloadError, DeviceMissingError)
        refusals += (ConfigError, ModelUnusableError)
        broken += (scoring.NotFiniteError,)
        return _analyse_models(arguments, Progress())
    except refusals as error:
        print(error, file=sys.stderr)
        return 2
    except broken as error:
        print(f"\n{error} {_how_to_go_on(arguments)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(unwritable(error, arguments.json, arguments.out), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_how_to_go_on(arguments)}", file=sys.stderr)
        return 130


def _analyse_models(arguments: argparse.Namespace, progress: Progress) -> int:
    from wmkml.laboratory.analysis.loading import check_memory_of, choose_dtype
    from wmkml.laboratory.analysis.next_token.comparison import check_corpus, common_window, compare_next_tokens
    from wmkml.laboratory.analysis.next_token.measuring import NextTokenOptions
    from wmkml.models.devices import find_device

    device = find_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    sources = _sources(arguments, device, dtype, progress)
    asked = _prompts(arguments)
    options = _making_options(arguments, device)
    # All that can be refused is refused before the first model is loaded.
    check_corpus(arguments.corpus)
    window = arguments.window or common_window(sources)
    reading = NextTokenOptions(
        window, arguments.stride or window, max_docs=arguments.max_docs, field=arguments.text_field
    )
    if reading.stride > window:
        return _refuse(f"--stride: {reading.stride} is longer than the window of {window}.")
    if asked:
        check_memory_of(sources, device, dtype, tokens=2048, cached_tokens=arguments.batch * (256 + options.max_tokens))
    out = arguments.out = _out_folder(arguments)
    _begin(out, arguments.resume)
    next_token: dict[str, Any] = {}
    if arguments.corpus:
        sizes = {str(path): path.stat().st_size for path in arguments.corpus}
        compressed = {str(path) for path in arguments.corpus if path.suffix == ".zst"}

        def on_read(label: str, name: str, done: int, documents: int) -> None:
            progress.where = f"{label}, {Path(name).name}"
            if name in compressed:
                progress(f"{documents} documents, MiB read", done >> 20, done >> 20)
            else:
                progress(f"{documents} documents, KiB read", done >> 10, sizes[name] >> 10)

        progress.where = sources[0].label
        next_token = compare_next_tokens(sources, arguments.corpus, reading, device, dtype, out / "state", on_read)
        _print_refused(next_token)
    labelled: dict[str, list[AnswerSet]] = {}
    diversity: dict[str, Any] = {}
    if asked:
        files = _make(sources, asked, options, out, progress)
        diversity, labelled = _measure_answers(arguments, files, [source.label for source in sources], progress)
    return _report(arguments, diversity, labelled, next_token)


def _make(
    sources: Sequence[ModelSource],
    asked: Sequence[AskedPrompt],
    options: MakingOptions,
    out: Path,
    progress: Progress,
) -> list[Path]:
    """Make the answers, and tell first how long it takes.  Returns the files."""
    from wmkml.laboratory.analysis.making import AnswerFile, make_answers
    from wmkml.system.duration_text import duration_text

    files = [AnswerFile(source, out / "answers" / f"{number}.jsonl") for number, source in enumerate(sources)]
    each = len(asked) * len(options.temperatures) * options.completions
    progress.print_line(
        f"{len(asked)} prompts × {len(options.temperatures)} temperatures × {options.completions} answers × "
        f"{len(sources)} models: {each * len(sources)} answers. How long that takes is told once the model is loaded."
    )
    began: dict[str, int] = {}
    predicted = False

    def on_group(label: str, done: int, total: int, seconds: float) -> None:
        nonlocal predicted
        progress.where = label
        before = began.setdefault(label, max(0, done - options.sets_per_group * options.completions))
        pace = seconds / max(1, done - before)
        if not predicted:
            left = pace * (
                total - done + total * (len(sources) - 1 - [source.label for source in sources].index(label))
            )
            quick = "" if len(options.temperatures) == 2 else " --quick takes a fraction of it."
            progress.print_line(
                f"About {duration_text(left)} for all models, by the first {done - before} answers; longer where a model "
                f"does not end its answers.{quick} Ctrl-C and --resume go on at any time."
            )
            predicted = True
        progress(f"answers, about {duration_text(pace * (total - done))} left for it", done, total)

    def on_prediction(seconds: float) -> None:
        progress.print_line(
            f"At most about {duration_text(seconds)} for all models, by the first tokens of some answers, if this machine "
            "stays as busy; told anew after the first whole ones."
        )

    progress.where = sources[0].label
    progress("loading the model", 0, 1)
    make_answers(files, asked, options, on_group, on_prediction)
    return [file.path for file in files]


def _measure_answers(
    arguments: argparse.Namespace, paths: Sequence[Path], labels: Sequence[str], progress: Progress
) -> tuple[dict[str, Any], dict[str, list[AnswerSet]]]:
    """What files of answers give, and their answers by label."""
    from wmkml.laboratory.analysis.answers import check_memory, read_answers
    from wmkml.laboratory.analysis.output_diversity import DiversityOptions, output_diversity

    check_memory(paths)
    labelled = {label: read_answers(path, arguments.language) for label, path in zip(labels, paths, strict=True)}
    _warn_of_numbers(labelled)
    options = DiversityOptions(arguments.max_num_words, arguments.cluster_threshold)

    def on_measured(label: str, done: int, total: int) -> None:
        progress.where = label
        progress("prompts and temperatures measured", done, total)

    result = output_diversity(labelled, options, on_measured)
    progress.print_line(f"Measured: {', '.join(labels)}.")
    return result, labelled


def _report(
    arguments: argparse.Namespace,
    diversity: Mapping[str, Any],
    labelled: Mapping[str, Sequence[AnswerSet]],
    next_token: Mapping[str, Any],
) -> int:
    """Write and print what was measured."""
    from wmkml.laboratory.analysis.frames import to_markdown
    from wmkml.laboratory.analysis.next_token.tables import next_token_markdown
    from wmkml.laboratory.analysis.report import write_diversity, write_next_tokens

    files: list[Path] = []
    if arguments.out is not None and next_token:
        files += write_next_tokens(next_token, arguments.out)
    if arguments.out is not None and diversity:
        files += write_diversity(diversity, labelled, arguments.out)
    for path in files:
        print(f"Written: {path}", file=sys.stderr)
    result = {**diversity, **({"next_token": next_token} if next_token else {})}
    if arguments.json == "-":
        print(json.dumps(result, ensure_ascii=False))
        return 0
    if next_token:
        print(next_token_markdown(next_token))
    if diversity:
        print(to_markdown(diversity), end="")
    if arguments.json is not None:
        Path(arguments.json).write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


def _sources(
    arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype, progress: Progress
) -> list[ModelSource]:
    from wmkml.config import load_settings
    from wmkml.config.paths import PROJECT
    from wmkml.laboratory.analysis.loading import check_memory_before_download
    from wmkml.laboratory.analysis.sources import SourceOptions, resolve_sources
    from wmkml.models.download import download

    config = PROJECT / "config.yaml"
    general = load_settings(config if config.is_file() else None).general

    def fetch(name: str, revision: str, folder: Path) -> None:
        progress.print_line(f"{name} is not here; fetching it into {folder}.")
        token = general.hf_token.get_secret_value()

        def reckon(weight_bytes: int) -> None:
            check_memory_before_download(folder, weight_bytes, device, dtype)

        report = progress.print_line
        download(name, folder, token, report=report, revision=revision or "main", before_weights=reckon)

    options = SourceOptions(PROJECT / general.models_folder, PROJECT, arguments.base, fetch)
    labels = arguments.labels.split(",") if arguments.labels else []
    revisions = arguments.revision.split(",") if arguments.revision else []
    return resolve_sources(arguments.models, options, labels, revisions)


def _prompts(arguments: argparse.Namespace) -> list[AskedPrompt]:
    """All prompts that are asked; none without --prompts and --seen."""
    from wmkml.laboratory.analysis.prompts import own_prompts, read_prompts, seen_prompts

    language = arguments.language or "en"
    asked: list[AskedPrompt] = []
    for path in arguments.prompts or []:
        asked += read_prompts(path, language)
    if arguments.prompts == []:
        asked += own_prompts(language)
    if arguments.seen:
        asked += seen_prompts(arguments.seen, language, arguments.seed)
    return list(dict.fromkeys(asked))


def _making_options(arguments: argparse.Namespace, device: torch.device) -> MakingOptions:
    from wmkml.engine.choice import vllm_runs
    from wmkml.laboratory.analysis.asking import (
        COMPLETIONS,
        QUICK_COMPLETIONS,
        QUICK_TEMPERATURES,
        TEMPERATURES,
        MakingOptions,
    )
    from wmkml.laboratory.analysis.sources import SourceError

    engine = arguments.engine
    if engine == "auto":
        engine = "vllm" if device.type == "cuda" and vllm_runs(gpus=True) else "transformers"
    elif engine == "vllm" and not vllm_runs(gpus=device.type == "cuda"):
        raise SourceError("--engine vllm: it is not installed, or does not run here. Use auto or transformers.")
    usual = (QUICK_TEMPERATURES, QUICK_COMPLETIONS) if arguments.quick else (TEMPERATURES, COMPLETIONS)
    given = arguments.temperatures
    return MakingOptions(
        temperatures=tuple(dict.fromkeys(map(float, given.split(",")))) if given else usual[0],
        completions=arguments.completions or usual[1],
        max_tokens=arguments.max_tokens,
        top_p=arguments.top_p,
        seed=arguments.seed,
        prompt_format=arguments.format,
        system=arguments.system,
        batch=arguments.batch,
        engine=engine,
        device=str(device),
        dtype=arguments.dtype,
    )


def _out_folder(arguments: argparse.Namespace) -> Path:
    from wmkml.config.paths import PROJECT

    given: Path | None = arguments.out
    return given or PROJECT / "data" / "analysis" / time.strftime("%Y%m%d-%H%M%S")


def _begin(out: Path, resume: bool) -> None:
    from wmkml.laboratory.analysis.sources import SourceError

    if not resume and out.is_dir() and any((out / name).exists() for name in ("state", "answers")):
        raise SourceError(f"{out} holds an analysis. Go on with it with --resume, or give another folder with --out.")
    out.mkdir(parents=True, exist_ok=True)


def _how_to_go_on(arguments: argparse.Namespace) -> str:
    if arguments.answers or arguments.out is None:
        return "Nothing was written."
    return f"What is finished is in {arguments.out}: the same command with --out {arguments.out} --resume goes on."


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


def _argument_problem(arguments: argparse.Namespace) -> str:
    """A sentence about the first argument that cannot be used; empty if there is none."""
    for name in ("labels", "system"):
        # A terminal that is not UTF-8 hands on bytes that are no characters; they would break off when they are written.
        if any("\ud800" <= character <= "\udfff" for character in getattr(arguments, name) or ""):
            return f"--{name}: holds a byte that is not UTF-8. Set the terminal to UTF-8, or write it in ASCII."
    if problem := unwritable_problem(arguments.json):
        return problem
    for name in ("max_num_words", "max_docs", "window", "stride", "completions", "max_tokens", "batch"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            return f"--{name.replace('_', '-')}: {value} is not allowed; allowed: at least 1."
    if not 0.0 < arguments.cluster_threshold <= 1.0:
        return f"--cluster-threshold: {arguments.cluster_threshold:g} is not allowed; allowed: above 0, up to 1."
    if not 0.0 < arguments.top_p <= 1.0:
        return f"--top-p: {arguments.top_p:g} is not allowed; allowed: above 0, up to 1."
    if arguments.temperatures and not _are_temperatures(arguments.temperatures):
        return f"--temperatures: {arguments.temperatures} is not allowed; allowed: numbers from 0 to 10, as 0.7,1.0."
    makes = arguments.prompts is not None or arguments.seen
    if arguments.answers and (arguments.models or arguments.corpus or makes or arguments.resume):
        return (
            "--answers measures files in place of models: give it without MODEL, --corpus, --prompts, --seen, --resume."
        )
    if arguments.answers:
        return ""
    if not arguments.models:
        return (
            "Name what to measure: MODELs with --corpus FILE or --prompts, or --answers FILE. `--help` shows examples."
        )
    if not arguments.corpus and not makes:
        return "Say what to measure of these models: --corpus FILE (next tokens), --prompts (answers), or both."
    if arguments.resume and arguments.out is None:
        return "--resume needs --out: the folder to go on in."
    return ""


def _are_temperatures(text: str) -> bool:
    try:
        return all(0.0 <= float(number) <= 10.0 for number in text.split(","))
    except ValueError:
        return False


def _labels(arguments: argparse.Namespace) -> list[str]:
    from wmkml.laboratory.analysis.answers import AnswersError

    names = arguments.labels.split(",") if arguments.labels else [path.stem for path in arguments.answers]
    labels = [name.strip() for name in names]
    if len(labels) != len(arguments.answers):
        raise AnswersError(f"--labels: {len(labels)} names for {len(arguments.answers)} files. Give one for each.")
    doubled = [label for label, count in Counter(labels).items() if count > 1]
    if doubled or "" in labels:
        raise AnswersError("--labels: each file needs a name of its own: --labels base,tuned.")
    return labels


def _print_refused(next_token: Mapping[str, Any]) -> None:
    """Tell what of the corpus could not be used; it is the same for every model."""
    for name, scope in next(iter(next_token.values()))["files"].items():
        if scope["refused"]:
            print(
                f"Note: {name}: {scope['refused']} documents could not be used; the first: {scope['first_refusal']}.",
                file=sys.stderr,
            )


def _warn_of_numbers(labelled: Mapping[str, Sequence[AnswerSet]]) -> None:
    """Say when prompts have different numbers of answers: most measures depend on it."""
    numbers = sorted({len(answers.answers) for sets in labelled.values() for answers in sets})
    if len(numbers) > 1:
        print(
            f"Note: prompts have from {numbers[0]} to {numbers[-1]} answers. self_bleu, vendi, the Hill numbers, clusters "
            "and distinct_n depend on how many there are: compare equal numbers.",
            file=sys.stderr,
        )
