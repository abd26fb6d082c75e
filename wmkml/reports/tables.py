"""The record's numbers as CSV: a row for each iteration, for each of its layers, and for each optimizer step."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from wmkml.measures.registry import TABLE
from wmkml.reports.record import RunRecord


def measures_csv(record: RunRecord) -> str:
    """A row for each iteration: its round's learning rate and losses, and every measure that was taken; empty: not measured."""
    names = [name for name in TABLE if any(name in numbers.values for numbers in record.measures)]
    rates = {round_.iteration: round_.learning_rate for round_ in record.rounds}
    rows = [
        [
            numbers.iteration,
            numbers.answers,
            rates.get(numbers.iteration),
            *(numbers.values.get(name) for name in names),
        ]
        for numbers in record.measures
    ]
    return _csv(["iteration", "answers", "learning_rate", *names], rows)


def layers_csv(record: RunRecord) -> str:
    """A row for each layer of an iteration, from layer 0 on, with the measures that are taken by layer; empty: not measured."""
    names = [name for name in TABLE if any(name in numbers.layers for numbers in record.measures)]
    rows = []
    for numbers in record.measures:
        by_name = [numbers.layers.get(name, []) for name in names]
        for layer in range(max(map(len, by_name), default=0)):
            values = [values[layer] if layer < len(values) else None for values in by_name]
            rows.append([numbers.iteration, layer, *values])
    return _csv(["iteration", "layer", *names], rows)


def losses_csv(record: RunRecord) -> str:
    """A row for each optimizer step; losses in nats."""
    return _csv(["iteration", "step", "loss"], [[point.iteration, point.step, point.loss] for point in record.losses])


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
