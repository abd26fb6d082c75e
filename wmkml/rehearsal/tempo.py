"""The settings that make a run short enough to rehearse.  Everything else of a rehearsal is as in the exhibition."""

from __future__ import annotations


def short_run(rounds: int) -> dict[str, int | float | bool]:
    """Overrides for `load_settings`: a run of so many rounds, of which only the waiting has been taken out.

    The shortest time an adapter answers stays above zero, so that every self is heard before the next one comes;
    the run's clock is so wide that its rounds end it; the last words leave time to compare what was stored.
    """
    return {
        "finetuning.num_total_iters": rounds,
        "finetuning.minimum_iteration_time": 4.0,
        "finetuning.last_iteration_time": 12.0,
        "finetuning.duration_of_a_run": 300.0 + 120.0 * rounds,
        "general.osc_heartbeat_seconds": 1.0,
        "general.keep_runs": False,
    }
