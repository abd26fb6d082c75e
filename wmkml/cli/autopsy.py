"""Ask every self of a run one question, side by side: of the run under way, or of one that was kept.

    python -m wmkml autopsy "Was ist Liebe?"
    python -m wmkml autopsy --run newest "Was ist Liebe?" --temperature 0
    python -m wmkml autopsy --run data/runs/RUN --serve

Without --run the owner of this machine is asked, whose run goes on undisturbed. With --run the run's model and all its adapters
are loaded here; --serve opens the page /autopsy on them, with the slider and the fork, on a port of its own.
Exit status: 0 when it was answered, 2 when it cannot be asked, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

from wmkml.config import ConfigError, Settings
from wmkml.config.arguments import add_settings_arguments, resolve_arguments, settings_of
from wmkml.config.paths import Paths, paths_of

if TYPE_CHECKING:
    from wmkml.autopsy.kept_run import KeptRun
    from wmkml.autopsy.terminal import SelfAnswer

PORT = 8012
"""Where --serve listens: beside the owner (8000) and inference (8011)."""


class AutopsyError(Exception):
    """It cannot be asked.  The text is a sentence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="what everybody is asked")
    parser.add_argument(
        "--run",
        default="",
        metavar="RUN",
        help="a kept run: its folder, its name, or newest (default: the run under way)",
    )
    parser.add_argument("--language", metavar="NAME", help="which system prompt goes before it (default: the run's)")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="0: the likeliest token each time (default: visitors')"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: every token with probability and entropy")
    parser.add_argument("--serve", action="store_true", help="serve the page for the kept run instead of asking")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="of --serve (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"of --serve (default: {PORT})")
    add_settings_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Ask, or serve.  Returns 2, with a sentence on stderr, when it cannot."""
    from pydantic import ValidationError

    if arguments.run:
        # The run names its model: which would run in place of the settings' on this machine says nothing here.
        try:
            resolved = resolve_arguments(arguments, gpus=True)
        except ConfigError as error:
            print(error, file=sys.stderr)
            return 2
        settings, root = resolved.settings, resolved.root
    else:
        settings, root = settings_of(arguments)
    paths = paths_of(settings, root)
    try:
        if arguments.serve == bool(arguments.prompt):
            raise AutopsyError('What is asked? python -m wmkml autopsy "Was ist Liebe?", or --run RUN --serve.')
        if not arguments.run:
            if arguments.serve:
                raise AutopsyError(
                    "--serve is for a kept run: --run RUN. The run under way is at the owner's /autopsy."
                )
            run, answers = asyncio.run(_ask_owner(arguments, settings, paths))
        else:
            from wmkml.autopsy.kept_run import KeptRunError, find_run_folder, read_kept_run

            try:
                kept = read_kept_run(find_run_folder(arguments.run, paths), paths, root, arguments.model or "")
                answered = asyncio.run(_open_kept(arguments, kept, paths))
            except KeptRunError as error:
                raise AutopsyError(str(error)) from None
            if answered is None:
                return 0
            run, answers = kept.name, answered
    except AutopsyError as error:
        print(error, file=sys.stderr)
        return 2
    except ValidationError as error:
        print(f"--{error.errors(include_input=False)[0]['loc'][0]} has a value that is not allowed.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    _print(arguments, run, answers)
    return 0


def _print(arguments: argparse.Namespace, run: str, answers: list[SelfAnswer]) -> None:
    from wmkml.autopsy.terminal import as_json, print_answers

    if arguments.json:
        print(json.dumps(as_json(run, arguments.prompt, answers), ensure_ascii=False))
        return
    from rich.console import Console

    print_answers(Console(), answers)


def _question(arguments: argparse.Namespace) -> dict[str, Any]:
    question = {"prompt": arguments.prompt, "language": arguments.language, "temperature": arguments.temperature}
    return {name: value for name, value in question.items() if value is not None}


async def _ask_owner(arguments: argparse.Namespace, settings: Settings, paths: Paths) -> tuple[str, list[SelfAnswer]]:
    """The run's name and the answers of its selves, by the owner's HTTP."""
    import httpx
    import httpx_sse

    from wmkml.access.keys import KeysUnreadableError, load_keys
    from wmkml.access.tls import CertificateError, owner_verification
    from wmkml.autopsy.terminal import SelfAnswer
    from wmkml.config.addresses import owner_url
    from wmkml.protocol.autopsy import AutopsyAnswerEnd, AutopsySelves, AutopsyToken

    run, answers = "", dict[int, SelfAnswer]()
    try:
        headers = {"X-Key": load_keys(paths).operator}
        async with (
            httpx.AsyncClient(
                base_url=owner_url(settings),
                headers=headers,
                timeout=600,
                trust_env=False,
                verify=owner_verification(paths),
            ) as http,
            httpx_sse.aconnect_sse(http, "POST", "/autopsy/answers", json=_question(arguments)) as source,
        ):
            if source.response.status_code != 200:
                await source.response.aread()
                sentence = str(source.response.json().get("error", ""))
                raise AutopsyError(f"The owner refuses: {sentence} A kept run is asked with --run.")
            async for event in source.aiter_sse():
                if event.event == "selves":
                    selves = AutopsySelves.model_validate_json(event.data)
                    run, answers = selves.run, {number: SelfAnswer(number) for number in selves.iterations}
                elif event.event == "token":
                    token = AutopsyToken.model_validate_json(event.data)
                    answers[token.iteration].tokens.append(token)
                elif event.event == "answer":
                    end = AutopsyAnswerEnd.model_validate_json(event.data)
                    answers[end.iteration].trouble = end.trouble
                elif event.event == "error":
                    raise AutopsyError(json.loads(event.data)["error"])
    except (KeysUnreadableError, CertificateError, OSError) as error:
        raise AutopsyError(str(error)) from None
    except httpx.TransportError:
        raise AutopsyError(
            f"No owner answers at {owner_url(settings)}. A kept run is asked with --run RUN, or --run newest."
        ) from None
    return run, list(answers.values())


async def _open_kept(arguments: argparse.Namespace, kept: KeptRun, paths: Paths) -> list[SelfAnswer] | None:
    """Load a kept run and ask it, or serve it until it is interrupted; then None."""
    from wmkml.autopsy.kept_selves import kept_selves
    from wmkml.autopsy.terminal import SelfAnswer
    from wmkml.owner.autopsy.questions import answers as ask_selves
    from wmkml.protocol.autopsy import AutopsyAnswerEnd, AutopsyRequest, AutopsySelves, AutopsyToken
    from wmkml.protocol.base import RequestRefusedError
    from wmkml.system.gpus import visible_gpus

    if arguments.engine == "remote":
        raise AutopsyError("--engine remote: a kept run is loaded here; choose vllm or transformers.")
    request = None if arguments.serve else AutopsyRequest.model_validate(_question(arguments))

    def on_loading(what: str) -> None:
        print(f"Loading {what} …", file=sys.stderr, flush=True)

    async with kept_selves(kept, arguments.engine or "auto", on_loading, gpus=bool(visible_gpus())) as selves:
        if request is None:
            from wmkml.access.key_ring import KeyRing
            from wmkml.access.keys import KeysUnreadableError
            from wmkml.autopsy.server import make_app, serve

            try:
                await serve(make_app(selves, KeyRing(paths)), arguments.host, arguments.port)
            except (KeysUnreadableError, OSError) as error:
                raise AutopsyError(f"{arguments.host}:{arguments.port} cannot be served: {error}") from None
            return None
        found_answers = dict[int, SelfAnswer]()
        try:
            async for event in ask_selves(selves, request):
                if isinstance(event, AutopsySelves):
                    found_answers = {number: SelfAnswer(number) for number in event.iterations}
                elif isinstance(event, AutopsyToken):
                    found_answers[event.iteration].tokens.append(event)
                elif isinstance(event, AutopsyAnswerEnd):
                    found_answers[event.iteration].trouble = event.trouble
        except RequestRefusedError as refusal:
            raise AutopsyError(refusal.sentence) from None
        return list(found_answers.values())
