"""The run's story: sentences made from its numbers, in German and English.  They quote nobody."""

from __future__ import annotations

from collections.abc import Mapping

from wmkml.measures.measure import Direction
from wmkml.reports.curves import MeasureCurve, curves_of
from wmkml.reports.record import RunRecord
from wmkml.reports.texts import (
    ReportLanguage,
    count_text,
    date_text,
    duration_text,
    iteration_text,
    language_name,
    number_text,
    value_text,
)

STEPS: Mapping[ReportLanguage, Mapping[Direction, str]] = {
    "de": {
        "falls": "fiel am meisten von {before} auf {after}",
        "rises": "stieg am meisten von {before} auf {after}",
        "either": "änderte sich am meisten von {before} auf {after}",
    },
    "en": {
        "falls": "fell most from {before} to {after}",
        "rises": "rose most from {before} to {after}",
        "either": "changed most from {before} to {after}",
    },
}
"""When a measure went furthest, by its direction; the numbers are iterations."""


def story(record: RunRecord, language: ReportLanguage) -> list[str]:
    """What happened, in the order in which it did; a few sentences for each paragraph."""
    paragraphs = [_life(record, language), _talk(record, language), _learning(record, language)]
    return [text for text in (*paragraphs, _dying(curves_of(record), language)) if text]


def ends_text(curve: MeasureCurve, language: ReportLanguage) -> str:
    """The first value of a measure and its last."""
    return " → ".join(value_text(language, curve.measure, value) for value in (curve.first, curve.last))


def step_text(curve: MeasureCurve, language: ReportLanguage) -> str:
    """Between which iterations a measure went furthest; empty where it has fewer than three points, or never went there."""
    step = curve.largest_step()
    if step is None or len(curve.points) < 3:
        return ""
    before, after = (iteration_text(iteration) for iteration in step)
    return STEPS[language][curve.measure.direction].format(before=before, after=after)


def _life(record: RunRecord, language: ReportLanguage) -> str:
    began, lasted = date_text(language, record.started_at), duration_text(language, record.seconds)
    name, rounds = language_name(language, record.language), len(record.accepted())
    lost = sum(round_.status == "skipped" for round_ in record.rounds)
    if language == "de":
        text = f"{began}: eine Sprache wird geboren, {name}, aus dem Modell {record.model}. "
        text += f"Sie lebte {lasted}" if record.finished else f"Sie lebt seit mindestens {lasted}"
        text += f" und wurde in {count_text(rounds, 'Runde', 'Runden')} neu geformt"
        planned = f"{record.rounds_planned} waren vorgesehen"
        skipped = f"{count_text(lost, 'Runde', 'Runden')} kam{'' if lost == 1 else 'en'} nicht zustande"
    else:
        text = f"{began}: a language is born, {name}, from the model {record.model}. "
        text += f"It lived {lasted}" if record.finished else f"It has lived at least {lasted}"
        text += f" and was reshaped in {count_text(rounds, 'round', 'rounds')}"
        planned = f"{record.rounds_planned} were planned"
        skipped = f"{count_text(lost, 'round', 'rounds')} came to nothing"
    notes = [planned] if record.rounds_planned > rounds else []
    notes += [skipped] if lost else []
    return text + (f" ({'; '.join(notes)})" if notes else "") + "."


def _talk(record: RunRecord, language: ReportLanguage) -> str:
    pairs = record.pairs
    visits, echoes, persistent, dataset = (pairs.get(name, 0) for name in ("visitor", "echo", "persistent", "dataset"))
    if language == "de":
        spoken = (
            f"Menschen sprachen {count_text(visits, 'Mal', 'Mal')} mit ihr, an {count_text(record.stations, 'Station', 'Stationen')}. "
            if visits
            else "Niemand hat mit ihr gesprochen. "
        )
        return (
            f"{spoken}Sie selbst antwortete noch {count_text(echoes, 'Mal', 'Mal')} auf das, was gesagt worden war, "
            f"{count_text(persistent, 'Mal', 'Mal')} auf die immer gleiche Frage und {count_text(dataset, 'Mal', 'Mal')} auf Fragen "
            "aus Sammlungen."
        )
    spoken = (
        f"People talked to it {count_text(visits, 'time', 'times')}, at {count_text(record.stations, 'station', 'stations')}. "
        if visits
        else "Nobody talked to it. "
    )
    return (
        f"{spoken}It answered {count_text(echoes, 'more time', 'more times')} to what had been said, "
        f"{count_text(persistent, 'time', 'times')} to the question that is always the same, and "
        f"{count_text(dataset, 'time', 'times')} to prompts of data sets."
    )


def _learning(record: RunRecord, language: ReportLanguage) -> str:
    rounds = [round_ for round_ in record.accepted() if round_.loss_first is not None and round_.loss_last is not None]
    if not rounds:
        return ""
    first, last = number_text(language, rounds[0].loss_first or 0.0), number_text(language, rounds[-1].loss_last or 0.0)
    samples, tokens = sum(round_.samples for round_ in rounds), sum(round_.tokens for round_ in rounds)
    seconds = duration_text(language, sum(round_.train_seconds for round_ in rounds))
    if language == "de":
        return (
            f"Aus {count_text(samples, 'Beispiel', 'Beispielen')} mit {count_text(tokens, 'Token', 'Tokens')} lernte sie {seconds} lang. "
            f"Der Verlust fiel von {first} am Anfang der ersten Runde auf {last} am Ende der letzten."
            if (rounds[-1].loss_last or 0.0) < (rounds[0].loss_first or 0.0)
            else f"Sie lernte {seconds} lang. Der Verlust war {first} am Anfang der ersten Runde und {last} am Ende der letzten."
        )
    return (
        f"It learned from {count_text(samples, 'sample', 'samples')} of {count_text(tokens, 'token', 'tokens')}, for {seconds}. "
        f"The loss fell from {first} at the beginning of the first round to {last} at the end of the last."
        if (rounds[-1].loss_last or 0.0) < (rounds[0].loss_first or 0.0)
        else f"It learned for {seconds}. The loss was {first} at the beginning of the first round and {last} at the end of the last."
    )


def _dying(curves: list[MeasureCurve], language: ReportLanguage) -> str:
    directed = [(curve, goes) for curve in curves if (goes := curve.goes_as_dying()) is not None]
    if not directed:
        return ""
    count = sum(goes for _, goes in directed)
    other = [curve.measure.words(language).title for curve, goes in directed if not goes]
    if language == "de":
        text = f"Von {len(directed)} Maßen, die beim Sterben eine Richtung haben, gingen {count} dorthin"
        return text + (f"; anders: {', '.join(other)}." if other else ".")
    text = f"Of {len(directed)} measures that have a direction in dying, {count} went there"
    return text + (f"; not so: {', '.join(other)}." if other else ".")
