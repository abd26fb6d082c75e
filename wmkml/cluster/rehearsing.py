"""`--rehearse N`: the same cluster on free ports with a store of its own, in a run made short, played once.

Decides the settings of such a cluster and whether it may run beside another; the playing is `wmkml.rehearsal`'s.
As a program (`python -m wmkml.cluster.rehearsing SETTINGS …`) it is what the launcher runs once the cluster is healthy.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from pathlib import Path

from wmkml.cluster.arguments import Resolved
from wmkml.cluster.launching import CannotStart, launch, plan_of
from wmkml.cluster.machine import Machine
from wmkml.cluster.plan import Plan
from wmkml.cluster.ports import free_port
from wmkml.cluster.record import is_locked
from wmkml.config import Settings, load_settings
from wmkml.places import places
from wmkml.rehearsal import play

MINIMUM_ITERATION_SECONDS = 8.0
LAST_WORDS_SECONDS = 15.0
"""Long enough that visitors finish what they ask in them, and that the store can be compared before it is deleted."""
LONGEST_ROUND_SECONDS = 600.0
"""The run's clock must not end a rehearsal before its rounds are done."""


def rehearse(resolved: Resolved, machine: Machine, rounds: int, report: Path | None) -> int:
    """Boot a cluster, play one run of `rounds` rounds on it, end it.

    Returns:
        0 only if all went well.

    Raises:
        CannotStart: a cluster whose GPUs are taken is alive, or something else keeps it from starting.
    """
    alive = places(resolved.settings, resolved.root).data
    if machine.gpus and is_locked(alive):
        raise CannotStart(
            f"A cluster runs on {alive}, and the GPUs are its own. End it (./master_script.sh stop), then rehearse."
        )
    with tempfile.TemporaryDirectory(prefix="wmkml-rehearsal-") as folder:
        settings = rehearsal_settings(resolved.settings, rounds, Path(folder) / "data")
        plan = plan_of(Resolved(settings, resolved.root, resolved.notices), machine)
        return launch(plan, play=lambda plan, seconds: _command(plan, rounds, report, seconds))


def rehearsal_settings(settings: Settings, rounds: int, data: Path) -> Settings:
    """The same settings, on free ports of this machine, with an OSC host of its own and a run made short."""
    general = {
        "data_folder": str(data),
        "owner_host": "127.0.0.1",
        "owner_port": free_port(),
        "inference_port": free_port(),
        "osc_ip": "127.0.0.1",
        "osc_port": free_port(socket.SOCK_DGRAM),
        # The artist's own music must not play along.
        "osc_hosts": [],
        "osc_heartbeat_seconds": 1.0,
        "keep_runs": False,
        "log_visitor_words": False,
    }
    finetuning = {
        "num_total_iters": rounds,
        "minimum_iteration_time": MINIMUM_ITERATION_SECONDS,
        "last_iteration_time": LAST_WORDS_SECONDS,
        "duration_of_a_run": rounds * LONGEST_ROUND_SECONDS,
    }
    return settings.model_copy(
        update={
            "general": settings.general.model_copy(update=general),
            "finetuning": settings.finetuning.model_copy(update=finetuning),
            "inference": settings.inference.model_copy(update={"inference_host": "127.0.0.1"}),
        }
    )


def _command(plan: Plan, rounds: int, report: Path | None, start_seconds: float) -> list[str]:
    command = [sys.executable, "-m", "wmkml.cluster.rehearsing", str(plan.places.data / "settings.yaml")]
    command += ["--rounds", str(rounds), "--start-seconds", f"{start_seconds:.1f}"]
    return command + (["--report", str(report.resolve())] if report is not None else [])


def main() -> int:
    """Play on the running cluster whose settings file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--start-seconds", type=float, required=True)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    settings = load_settings(arguments.settings)
    return play(
        settings,
        arguments.settings.parent,
        rounds=arguments.rounds,
        report=arguments.report,
        osc_port=settings.general.osc_port,
        start_seconds=arguments.start_seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
