"""`--rehearse N`: the same cluster on free ports, with a data folder of its own, for one short run of N rounds.

Decides its settings and whether it may run beside another cluster; the visitors are simulated by `wmkml.rehearsal`.
The launcher runs this module as a program once the cluster is healthy: `python -m wmkml.launcher.rehearsal SETTINGS …`.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from pathlib import Path

from pydantic import SecretStr

from wmkml.config import Settings, load_settings
from wmkml.config.arguments import ResolvedSettings
from wmkml.config.paths import paths_of
from wmkml.launcher.cluster_record import is_locked
from wmkml.launcher.launch import CannotStartError, launch, plan_of
from wmkml.launcher.machine import Machine
from wmkml.launcher.plan import Plan
from wmkml.rehearsal import run_rehearsal
from wmkml.system.ports import free_port

MINIMUM_ITERATION_SECONDS = 8.0
"""`minimum_iteration_time` of a rehearsal."""

LAST_WORDS_SECONDS = 30.0
"""`last_iteration_time` of a rehearsal: visitors must finish, the last iteration be measured on a busy machine too, and the
run be checked, before it is deleted."""

LONGEST_ROUND_SECONDS = 600.0
"""`duration_of_a_run` for each round: the clock must not end a rehearsal before its rounds are done."""


def rehearse(resolved: ResolvedSettings, machine: Machine, rounds: int, report: Path | None) -> int:
    """Start a cluster, play one run of `rounds` rounds on it, end it.

    Returns:
        The exit status; 0 only if all went well.

    Raises:
        CannotStartError: a running cluster uses the GPUs, or something else must be fixed first.
    """
    of_installation = paths_of(resolved.settings, resolved.root)
    data = of_installation.data
    if machine.gpus and is_locked(data):
        raise CannotStartError(
            f"A cluster runs on {data}, and the GPUs are its own. End it (./master_script.sh stop), then rehearse."
        )
    with tempfile.TemporaryDirectory(prefix="wmkml-rehearsal-") as folder:
        settings = rehearsal_settings(resolved.settings, rounds, Path(folder) / "data")
        # Its own data are deleted in the end; what is compiled for the GPUs is the same, and takes minutes.
        plan = plan_of(ResolvedSettings(settings, resolved.root, resolved.notices), machine, of_installation.caches)
        return launch(plan, on_healthy=lambda plan, seconds: _command(plan, rounds, report, seconds))


def rehearsal_settings(settings: Settings, rounds: int, data: Path) -> Settings:
    """The same settings on free ports, with data, OSC host and length of a run for a rehearsal."""
    general = {
        "data_folder": str(data),
        "owner_host": "127.0.0.1",
        "owner_port": free_port(),
        "inference_port": free_port(),
        "osc_ip": "127.0.0.1",
        "osc_port": free_port(socket.SOCK_DGRAM),
        # The artist's OSC hosts must not receive a rehearsal.
        "osc_hosts": [],
        "osc_heartbeat_seconds": 1.0,
        # Nor must the operator be called for it, and it may be played when the exhibition is closed.
        "alert_url": SecretStr(""),
        "heartbeat_url": SecretStr(""),
        "opening_hours": "",
        "disk_quota_gib": 0.0,
        "keep_runs": False,
        "log_visitor_words": False,
        "on_idle": "continue",
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
            "inference": settings.inference.model_copy(update={"inference_host": "127.0.0.1", "nodes": []}),
        }
    )


def _command(plan: Plan, rounds: int, report: Path | None, start_seconds: float) -> list[str]:
    command = [sys.executable, "-m", "wmkml.launcher.rehearsal", str(plan.paths.data / "settings.yaml")]
    command += ["--rounds", str(rounds), "--start-seconds", f"{start_seconds:.1f}"]
    return command + (["--report", str(report.resolve())] if report is not None else [])


def main() -> int:
    """Play on the running cluster that has this settings file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--start-seconds", type=float, required=True)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    settings = load_settings(arguments.settings)
    return run_rehearsal(
        settings,
        arguments.settings.parent,
        rounds=arguments.rounds,
        report=arguments.report,
        osc_port=settings.general.osc_port,
        start_seconds=arguments.start_seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
