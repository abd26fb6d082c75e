"""The service's Prometheus metrics: answers, tokens and delays by audience, and the loaded adapters.

They have a registry of their own, so that `/metrics` holds no metrics of libraries.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: fine around the gap between two tokens, wide enough for a first token under load."""


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.answers = Counter("wmkml_answers", "Answers begun.", ["audience"], registry=registry)
        self.tokens = Counter("wmkml_tokens", "Tokens generated.", ["audience"], registry=registry)
        self.first_token = Histogram(
            "wmkml_first_token_seconds",
            "From a request's arrival to its first token.",
            ["audience"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.gap = Histogram(
            "wmkml_token_gap_seconds", "Between two tokens.", ["audience"], buckets=_BUCKETS, registry=registry
        )
        self.waiting = Gauge("wmkml_answers_waiting", "Answers that wait for their first token.", registry=registry)
        self.running = Gauge("wmkml_answers_running", "Answers under way.", registry=registry)
        self.adapters = Gauge("wmkml_adapters_loaded", "Adapters that can be asked.", registry=registry)
        self.current = Gauge(
            "wmkml_current_iteration", "The iteration that answers; -1 is the base model.", registry=registry
        )
        self.current.set(-1)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
