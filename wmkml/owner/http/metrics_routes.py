"""The run's measures for Prometheus: `/metrics`, beside that of inference.  They hold no visitor's word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from wmkml.owner.context import OwnerContext
from wmkml.protocol.run_state import RunState


def add_metrics_routes(app: FastAPI, owner: OwnerContext, problems: Callable[[], Collection[str]]) -> None:
    """Add the route.  `problems`: returns the codes of the problems that are there now."""

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(metrics_text(owner.run_state(), problems()), media_type=CONTENT_TYPE_LATEST)


def metrics_text(state: RunState, problems: Collection[str] = ()) -> bytes:
    """The state's measures in Prometheus' text format; what is not measured has no sample."""
    registry = CollectorRegistry()
    iteration = Gauge("wmkml_current_iteration", "The iteration that answers; -1 is the base model.", registry=registry)
    iteration.set(state.iteration)
    measures = Gauge("wmkml_measure", "How the language is, newest value.", ["measure"], registry=registry)
    for name, value in state.measures.items():
        measures.labels(name).set(value)
    of_layers = Gauge(
        "wmkml_layer_measure", "The same of a layer of the model.", ["measure", "layer"], registry=registry
    )
    layers = {} if state.measured is None else state.measured.layers
    for name, values in layers.items():
        for layer, of_layer in enumerate(values):
            if of_layer is not None:
                of_layers.labels(name, str(layer)).set(of_layer)
    present = Gauge("wmkml_problem", "How many problems of this code are there now.", ["code"], registry=registry)
    for code, number in Counter(problems).items():
        present.labels(code).set(number)
    stations = Gauge("wmkml_stations", "Stations that listen or have spoken in this run.", registry=registry)
    stations.set(state.stations)
    return generate_latest(registry)
