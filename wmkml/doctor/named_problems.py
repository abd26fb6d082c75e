"""Which named problem a check of the doctor has found, where it is one of the table in `wmkml.problems`."""

from __future__ import annotations

from collections.abc import Mapping

NAMED: Mapping[str, str | Mapping[str, str]] = {
    "settings": "settings",
    "driver": "gpu_driver",
    "torch": "gpu_driver",
    "memory": {"too_small": "model_too_large"},
    "gpu-free": "gpu_taken",
    "model": "model",
    "data": "data_readonly",
    "disk": {"low": "disk", "full": "disk_full", "no_room": "disk_full"},
    "keys": {"broken": "keys", "forbidden": "keys", "open": "keys_open"},
    "ports": "port",
    "datasets": "dataset",
    "pages": "pages",
    "certificate": {"soon": "certificate_ends", "over": "certificate_over"},
    "osc": "osc",
}
"""By check: the problem's code, or one for each outcome."""


def problem_code(check: str, outcome: str) -> str:
    """The code of the problem that a bad outcome, or one to be noted, stands for; empty where it is none of the table."""
    codes = NAMED.get(check, "")
    return codes if isinstance(codes, str) else codes.get(outcome, "")
