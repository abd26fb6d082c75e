"""The schedules of a run, as in the original installation: each round's learning rate and number of samples."""

from __future__ import annotations

from wmkml.config import Finetuning


def learning_rate(tuning: Finetuning, round_number: int) -> float:
    """The learning rate at the start of a round; never below zero."""
    return max(0.0, tuning.learning_rate + round_number * tuning.learning_rate_increase)


def sample_count(tuning: Finetuning, round_number: int) -> int:
    """The number of samples a round trains on."""
    return tuning.samples_by_iteration + round_number * tuning.sample_increase_by_iteration
