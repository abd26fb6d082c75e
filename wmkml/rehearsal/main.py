"""Rehearses on a running cluster: quiet prompts, one whole run with visitors, checks, the report.

This file is the order of events; visitors, observation and checks have files of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import httpx

from wmkml.access.keys import Keys, load_keys
from wmkml.access.pin import PinUnusableError, load_pin
from wmkml.access.tls import owner_verification
from wmkml.config import Settings
from wmkml.config.addresses import inference_url, owner_url
from wmkml.config.paths import Paths, paths_of
from wmkml.corpora import is_adult, list_datasets, read_dataset
from wmkml.protocol.run_state import RoundRecord
from wmkml.rehearsal import checks
from wmkml.rehearsal.observation import RunObservation
from wmkml.rehearsal.receiver import OscReceiver
from wmkml.rehearsal.recording import record_events
from wmkml.rehearsal.report import (
    NOT_SEEN,
    MeasureFigures,
    Report,
    RoundFigures,
    VisitFigures,
    goal_lines,
    latency_summary,
)
from wmkml.rehearsal.run import CannotRehearseError, RehearsedRun, fetch_state, print_progress
from wmkml.rehearsal.visitors import Visit, Visitor, quiet_first_token_ms

QUIET_PROMPTS = 10
"""Number of each visitor's prompts that are asked before the run; the visitor asks the same ones during it."""

DELETION_POLLS = 40
DELETION_POLL_SECONDS = 0.5
"""Interval and number of looks for the run's words after its end: the engine must unload the adapters first."""

OSC_POLLS = 100
OSC_POLL_SECONDS = 0.1
"""Interval and number of looks for the OSC addresses that are sent at the rebirth."""


def run_rehearsal(
    settings: Settings,
    root: Path,
    *,
    owner: str | None = None,
    rounds: int | None = None,
    stations: int = 3,
    report: Path | None = None,
    osc_port: int | None = None,
    start_seconds: float = 0.0,
    record: Path | None = None,
) -> int:
    """Rehearse on the running cluster that has these settings; prints progress and writes the report.

    Args:
        owner: the owner's address; None: this machine, at the port of the settings.
        rounds: the number of rounds the run must have; None: `finetuning.num_total_iters`.
        report: the file that receives the JSON; None: it is printed.
        osc_port: the UDP port of this machine to receive OSC at.  None: the first OSC host of the settings that can be
            bound here; without one OSC is not checked.
        start_seconds: how long the cluster took to start, for the report.
        record: the file that receives a recording for `/stage?replay=`, `<name>.jsonl.gz`.

    Returns:
        0 when everything was right, 1 when not, 2 when the rehearsal could not begin.
    """
    try:
        result = asyncio.run(
            _rehearse(settings, paths_of(settings, root), owner, rounds, stations, osc_port, start_seconds, record)
        )
    except CannotRehearseError as error:
        print_progress(f"No rehearsal: {error}")
        return 2
    text = result.model_dump_json(indent=1)
    if report is None:
        print(text, flush=True)
    else:
        report.write_text(text + "\n", encoding="utf-8")
    for line in goal_lines(result):
        print_progress(line)
    for problem in result.problems:
        print_progress(f"Problem: {problem}")
    print_progress("The rehearsal went well." if result.ok else "The rehearsal did not go well.")
    return 0 if result.ok else 1


async def _rehearse(
    settings: Settings,
    paths: Paths,
    owner: str | None,
    rounds: int | None,
    stations: int,
    osc_port: int | None,
    start_seconds: float,
    record: Path | None,
) -> Report:
    keys = _load_keys(paths)
    base = owner or owner_url(settings)
    began = time.perf_counter()
    visitors = _visitors(settings, paths, stations)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=stations + 4)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=base,
                timeout=httpx.Timeout(120, connect=5),
                limits=limits,
                trust_env=False,
                verify=owner_verification(paths),
            )
        )
        state = await fetch_state(client, base)
        if state.phase != "waiting":
            raise CannotRehearseError(f"a run is under way at {base}. Wait for its end, or end it as the operator.")
        expected = rounds or state.num_total_iters
        receiver = await _open_receiver(settings, osc_port)
        if receiver is not None:
            stack.callback(receiver.close)
        try:
            quiet = await _ask_quietly(settings, visitors, stack, keys) if owner is None else []
        except httpx.HTTPError as error:
            raise CannotRehearseError(f"inference does not answer as it should ({type(error).__name__}).") from None
        if not quiet:
            print_progress("Nothing could be asked before the run, so there is no quiet figure.")
        run = RehearsedRun(
            settings, client, keys, visitors, expected, RunObservation(state, events=None if record is None else [])
        )
        problems = [] if receiver is None else await _press_buttons(client, paths)
        problems += await run.play()
        if record is not None:
            print_progress(f"{record_events(run.observation.events or [], record)} events are recorded in {record}.")
        if receiver is not None:
            problems += await _osc_problems(receiver)
        if owner is None:
            problems += await leftover_words(settings, paths, run.canary)
    return Report(
        ok=not problems,
        engine=run.observation.state.engine,
        model=run.observation.state.model,
        seconds=round(time.perf_counter() - began, 1),
        start_seconds=round(start_seconds, 1),
        rounds=[_round_figures(record) for record in run.rounds if record.status == "accepted"],
        visits=visit_figures(run.visits, quiet, run.observation),
        pairs=run.pairs,
        measures=[
            MeasureFigures(iteration=iteration, values=values)
            for iteration, values in sorted(run.observation.measures.items())
        ],
        osc=dict(sorted(receiver.counts.items())) if receiver is not None else {},
        problems=problems,
    )


def _visitors(settings: Settings, paths: Paths, stations: int) -> list[Visitor]:
    """Visitors with prompts from the datasets, their languages those of the settings in turn."""
    names = settings.general.available_datasets or [
        name
        for name in list_datasets(paths.datasets)
        if settings.general.allow_adult_datasets or not is_adult(paths.datasets, name)
    ]
    prompts = {name: read_dataset(paths.datasets, name).prompts for name in names}
    visitors = []
    for number in range(stations):
        language = settings.languages[number % len(settings.languages)]
        # The name of a shipped set ends with its language; where none matches, all sets are used.
        own_prompts = [text for name, texts in prompts.items() if name.endswith(f"_{language}") for text in texts]
        own_prompts = own_prompts or [text for texts in prompts.values() for text in texts]
        if not own_prompts:
            raise CannotRehearseError(
                f"no prompts in {paths.datasets}. Put a set there, or name it in available_datasets."
            )
        visitors.append(Visitor(f"rehearsal-{number + 1}-{language}", language, own_prompts, seed=number))
    return visitors


def _load_keys(paths: Paths) -> Keys:
    if not paths.keys.is_file():
        raise CannotRehearseError(
            f"{paths.keys} does not exist: no cluster has been started with this data folder. "
            "Rehearse on the owner's machine, with the config the cluster was started with."
        )
    return load_keys(paths)


async def _open_receiver(settings: Settings, osc_port: int | None) -> OscReceiver | None:
    addresses = [("127.0.0.1", osc_port)] if osc_port else settings.osc_targets
    for host, port in addresses:
        try:
            return await OscReceiver.listen(host, port)
        except OSError as error:
            print_progress(f"OSC cannot be heard at {host}:{port} ({error.strerror}).")
    if osc_port:
        raise CannotRehearseError(f"UDP port {osc_port} is taken. Give another one.")
    print_progress("OSC is not part of this rehearsal: none of its hosts is free on this machine.")
    return None


async def _ask_quietly(
    settings: Settings, visitors: list[Visitor], stack: contextlib.AsyncExitStack, keys: Keys
) -> list[float]:
    """Times to the first token of the visitors' own prompts, asked one at a time outside a run; milliseconds."""
    inference = settings.inference
    client = await stack.enter_async_context(
        httpx.AsyncClient(
            base_url=inference_url(settings),
            headers={"X-Key": keys.operator},
            timeout=httpx.Timeout(120, connect=5),
            trust_env=False,
        )
    )
    print_progress(f"Before the run: {QUIET_PROMPTS} prompts of each station, asked quietly.")
    models = (await client.get("/v1/models")).raise_for_status().json()["data"]
    sampling = {"temperature": inference.visitor_temperature, "top_p": inference.visitor_top_p, "max_tokens": 8}
    latencies: list[float | None] = []
    for visitor in visitors:
        for prompt, _ in zip(visitor.shuffled_prompts(), range(QUIET_PROMPTS), strict=False):
            system = inference.system_prompts[visitor.language]
            latencies.append(await quiet_first_token_ms(client, models[0]["id"], system, prompt, sampling))
    # The first request is left out: it warms up what stays warm afterwards.
    quiet = [latency for latency in latencies[1:] if latency is not None]
    print_progress(
        f"Quiet first token: median {latency_summary(quiet).median} ms, p95 {latency_summary(quiet).p95} ms."
    )
    return quiet


async def _press_buttons(client: httpx.AsyncClient, paths: Paths) -> list[str]:
    """Log in at the desk with its PIN, send the OSC test message, stop everything and let it go on.  Returns the problems."""
    try:
        pin = load_pin(paths)
    except (PinUnusableError, OSError) as error:
        return [f"The desk's PIN cannot be read: {error}"]
    buttons: list[tuple[str, dict[str, object]]] = [
        ("/desk/login", {"pin": pin}),
        ("/desk/osc_test", {}),
        ("/desk/opening", {"decision": "hours"}),
        ("/desk/panic", {"on": True}),
        ("/desk/panic", {"on": False}),
        ("/desk/logout", {}),
    ]
    for path, body in buttons:
        response = await client.post(path, json=body)
        if response.status_code != 200:
            return [f"The desk did not do what was asked at {path} (status {response.status_code})."]
    return []


async def _osc_problems(receiver: OscReceiver) -> list[str]:
    """Wait for the addresses that are sent at the rebirth, then return what was wrong or never received."""
    for _ in range(OSC_POLLS):
        if not receiver.missing():
            break
        await asyncio.sleep(OSC_POLL_SECONDS)
    return receiver.problems + [f"OSC {address} was never received." for address in receiver.missing()]


async def leftover_words(settings: Settings, paths: Paths, canary: str) -> list[str]:
    """A problem for each file that still holds a visitor's word after the run, where the settings promise none."""
    general = settings.general
    if general.keep_runs or general.log_visitor_words or not settings.finetuning.delete_live_questions_at_start:
        print_progress("By its settings the installation keeps visitors' words: that they are gone is not checked.")
        return []
    for _ in range(DELETION_POLLS):
        if not (problems := checks.check_words_deleted(paths.data, canary)):
            break
        await asyncio.sleep(DELETION_POLL_SECONDS)
    return problems


def _round_figures(record: RoundRecord) -> RoundFigures:
    return RoundFigures(
        iteration=record.iteration,
        learning_rate=record.learning_rate,
        samples=record.samples,
        tokens=record.tokens,
        train_seconds=round(record.train_seconds, 3),
        swap_seconds=round(record.swap_seconds or 0.0, 3),
        loss_first=round(record.loss_first or 0.0, 4),
        loss_last=round(record.loss_last or 0.0, 4),
    )


def visit_figures(visits: list[Visit], quiet: list[float], observation: RunObservation) -> VisitFigures:
    """The figures of these visits; `quiet`: times to the first token before the run, in milliseconds."""
    disturbed = [
        gap
        for visit in visits
        if any(visit.overlaps(begin, end) for begin, end in observation.disturbances())
        for gap in visit.gaps_ms
    ]
    return VisitFigures(
        sent=len(visits),
        answered=sum(visit.pair is not None for visit in visits),
        failed=sum(visit.failure is not None for visit in visits),
        quiet_first_token_ms=latency_summary(quiet),
        first_token_ms=latency_summary([visit.first_token_ms for visit in visits if visit.first_token_ms is not None]),
        token_gap_ms=latency_summary([gap for visit in visits for gap in visit.gaps_ms]),
        swap_gap_ms_max=round(max(disturbed), 1) if disturbed else NOT_SEEN,
    )
