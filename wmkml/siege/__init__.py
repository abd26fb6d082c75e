"""Attacks a real cluster and counts what held: `python -m wmkml siege`.

It starts a cluster of its own and knows it as an attacker would: by its processes, its folders and HTTP.  Each section
(kills, adapters, runs, stations, clients, prompts) is a file; `main.py` is their order.
"""

from wmkml.siege.main import SECTIONS, run_siege
from wmkml.siege.options import SiegeOptions

__all__ = ["SECTIONS", "SiegeOptions", "run_siege"]
