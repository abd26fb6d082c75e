"""Plays a rehearsal against a running cluster: quiet prompts, one whole run with visitors, checks, the report.

Knows the order of things; what a visitor does, what is heard and what is wrong are their own files'.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import httpx

from wmkml.addresses import inference_url, owner_url
from wmkml.config import Settings
from wmkml.corpora import list_datasets, read_dataset
from wmkml.keys import Keys, load_keys
from wmkml.pin import PinUnusable, load_pin
from wmkml.places import Places, places
from wmkml.rehearsal import checks
from wmkml.rehearsal.receiver import OscReceiver
from wmkml.rehearsal.report import Report, RoundFigures, Visits, beside_goals, spread
from wmkml.rehearsal.run import CannotRehearse, Run, state_of, tell
from wmkml.rehearsal.visitors import Visit, Visitor, ask_quietly
from wmkml.rehearsal.watching import Watch
from wmkml.wire import RoundRecord

QUIET_PROMPTS = 10
"""So many of each visitor's prompts are asked before the run; the visitor asks the same ones in it."""

DELETION_TRIALS = 40
"""So many half seconds after the run's end its folder may take to be gone: the engine must first let go of adapters."""


def play(
    settings: Settings,
    root: Path,
    *,
    owner: str | None = None,
    rounds: int | None = None,
    stations: int = 3,
    report: Path | None = None,
    osc_port: int | None = None,
    start_seconds: float = 0.0,
) -> int:
    """Rehearse on the running cluster that has these settings; prints progress and writes the report.

    Args:
        owner: the owner's address; none means this machine where the settings say.
        rounds: so many rounds the run must have; none means `finetuning.num_total_iters`.
        report: the file that receives the JSON; none means it is printed.
        osc_port: listen for OSC there, on this machine, and hold the whole address table to it.  None: listen where
            the settings send to, if that is this machine; else say that OSC is not heard.
        start_seconds: what the cluster took to start, for the report.

    Returns:
        0 when everything was right, 1 when not, 2 when the rehearsal could not begin.
    """
    try:
        result = asyncio.run(
            _rehearse(settings, places(settings, root), owner, rounds, stations, osc_port, start_seconds)
        )
    except CannotRehearse as error:
        tell(f"No rehearsal: {error}")
        return 2
    text = result.model_dump_json(indent=1)
    if report is None:
        print(text, flush=True)
    else:
        report.write_text(text + "\n", encoding="utf-8")
    for line in beside_goals(result):
        tell(line)
    for problem in result.problems:
        tell(f"Problem: {problem}")
    tell("The rehearsal went well." if result.ok else "The rehearsal did not go well.")
    return 0 if result.ok else 1


async def _rehearse(
    settings: Settings,
    where: Places,
    owner: str | None,
    rounds: int | None,
    stations: int,
    osc_port: int | None,
    start_seconds: float,
) -> Report:
    keys = _keys(where)
    base = owner or owner_url(settings)
    began = time.perf_counter()
    visitors = _visitors(settings, where, stations)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=stations + 4)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=base, timeout=httpx.Timeout(120, connect=5), limits=limits, trust_env=False)
        )
        state = await state_of(client, base)
        if state.phase != "waiting":
            raise CannotRehearse(f"a run is under way at {base}. Wait for its end, or end it as the operator.")
        expected = rounds or state.num_total_iters
        receiver = await _listen(settings, osc_port)
        if receiver is not None:
            stack.callback(receiver.close)
        try:
            quiet = await _quiet(settings, visitors, stack, keys) if owner is None else []
        except httpx.HTTPError as error:
            raise CannotRehearse(f"inference does not answer as it should ({type(error).__name__}).") from None
        if not quiet:
            tell("Nothing could be asked before the run, so there is no quiet figure.")
        run = Run(settings, client, keys, visitors, expected, Watch(state))
        problems = [] if receiver is None else await _press_test_button(client, where)
        problems += await run.play()
        if receiver is not None:
            problems += await _osc_problems(receiver)
        if owner is None:
            problems += await silence(settings, where, run.canary)
    return Report(
        ok=not problems,
        engine=run.watch.state.engine,
        model=run.watch.state.model,
        seconds=round(time.perf_counter() - began, 1),
        start_seconds=round(start_seconds, 1),
        rounds=[_figures(record) for record in run.rounds if record.status == "accepted"],
        visits=_visit_figures(run.visits, quiet, run.watch),
        pairs=run.pairs,
        osc=dict(sorted(receiver.counts.items())) if receiver is not None else {},
        problems=problems,
    )


def _visitors(settings: Settings, where: Places, stations: int) -> list[Visitor]:
    """Visitors who speak the languages in turn, German first where it is configured, with prompts from the data sets."""
    names = settings.general.available_datasets or list_datasets(where.datasets)
    prompts = {name: read_dataset(where.datasets, name).prompts for name in names}
    visitors = []
    for number in range(stations):
        language = settings.languages[number % len(settings.languages)]
        # A shipped set's name ends with its language; where none does, every set will do.
        theirs = [text for name, texts in prompts.items() if name.endswith(f"_{language}") for text in texts]
        theirs = theirs or [text for texts in prompts.values() for text in texts]
        if not theirs:
            raise CannotRehearse(f"no prompts in {where.datasets}. Put a set there, or name it in available_datasets.")
        visitors.append(Visitor(f"rehearsal-{number + 1}-{language}", language, theirs, seed=number))
    return visitors


def _keys(where: Places) -> Keys:
    if not where.keys.is_file():
        raise CannotRehearse(
            f"{where.keys} does not exist: no cluster has been started with this data folder. "
            "Rehearse on the owner's machine, with the config the cluster was started with."
        )
    return load_keys(where)


async def _listen(settings: Settings, osc_port: int | None) -> OscReceiver | None:
    places_to_hear = [("127.0.0.1", osc_port)] if osc_port else settings.osc_targets
    for host, port in places_to_hear:
        try:
            return await OscReceiver.listen(host, port)
        except OSError as error:
            tell(f"OSC cannot be heard at {host}:{port} ({error.strerror}).")
    if osc_port:
        raise CannotRehearse(f"UDP port {osc_port} is taken. Give another one.")
    tell("OSC is not part of this rehearsal: none of its hosts is free on this machine.")
    return None


async def _quiet(
    settings: Settings, visitors: list[Visitor], stack: contextlib.AsyncExitStack, keys: Keys
) -> list[float]:
    """First tokens of the visitors' own prompts, one at a time, while nothing else is going on; milliseconds."""
    speech = settings.inference
    client = await stack.enter_async_context(
        httpx.AsyncClient(
            base_url=inference_url(settings),
            headers={"X-Key": keys.operator},
            timeout=httpx.Timeout(120, connect=5),
            trust_env=False,
        )
    )
    tell(f"Before the run: {QUIET_PROMPTS} prompts of each station, asked quietly.")
    models = (await client.get("/v1/models")).raise_for_status().json()["data"]
    sampling = {"temperature": speech.visitor_temperature, "top_p": speech.visitor_top_p, "max_tokens": 8}
    found: list[float | None] = []
    for visitor in visitors:
        for prompt, _ in zip(visitor.order(), range(QUIET_PROMPTS), strict=False):
            system = speech.system_prompts[visitor.language]
            found.append(await ask_quietly(client, models[0]["id"], system, prompt, sampling))
    # The first request warms things up that stay warm.
    quiet = [one for one in found[1:] if one is not None]
    tell(f"Quiet first token: median {spread(quiet).median} ms, p95 {spread(quiet).p95} ms.")
    return quiet


async def _press_test_button(client: httpx.AsyncClient, where: Places) -> list[str]:
    """Enter the desk with its PIN and have it send OSC its test message, as an operator would.  Returns what was wrong."""
    try:
        pin = load_pin(where)
    except (PinUnusable, OSError) as error:
        return [f"The desk's PIN cannot be read: {error}"]
    for path, body in (("/desk/login", {"pin": pin}), ("/desk/osc_test", {}), ("/desk/logout", {})):
        reply = await client.post(path, json=body)
        if reply.status_code != 200:
            return [f"The desk did not do what was asked at {path} (status {reply.status_code})."]
    return []


async def _osc_problems(receiver: OscReceiver) -> list[str]:
    """Wait a little for the addresses of the rebirth, then say what never came."""
    for _ in range(100):
        if not receiver.missing():
            break
        await asyncio.sleep(0.1)
    return receiver.problems + [f"OSC {address} was never received." for address in receiver.missing()]


async def silence(settings: Settings, where: Places, canary: str) -> list[str]:
    """What is left of a visitor's word in the data folder after the run's end, where the settings promise nothing is."""
    general = settings.general
    if general.keep_runs or general.log_visitor_words or not settings.finetuning.delete_live_questions_at_start:
        tell("By its settings the installation keeps visitors' words: that they are gone is not checked.")
        return []
    for _ in range(DELETION_TRIALS):
        if not (found := checks.of_silence(where.data, canary)):
            break
        await asyncio.sleep(0.5)
    return found


def _figures(record: RoundRecord) -> RoundFigures:
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


def _visit_figures(visits: list[Visit], quiet: list[float], watch: Watch) -> Visits:
    disturbed = [
        gap
        for visit in visits
        if any(visit.under_way(begin, end) for begin, end in watch.disturbances())
        for gap in visit.gaps_ms
    ]
    return Visits(
        sent=len(visits),
        answered=sum(visit.pair is not None for visit in visits),
        failed=sum(visit.failure is not None for visit in visits),
        quiet_first_token_ms=spread(quiet),
        first_token_ms=spread([visit.first_token_ms for visit in visits if visit.first_token_ms is not None]),
        token_gap_ms=spread([gap for visit in visits for gap in visit.gaps_ms]),
        swap_gap_ms_max=round(max(disturbed, default=0.0), 1),
    )
