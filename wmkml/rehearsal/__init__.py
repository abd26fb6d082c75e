"""The rehearsal: simulated visitors talk through one whole run of a real cluster, and a report says how it went.

`main.py` prepares the rehearsal and writes the report, `run.py` drives one run, `visitors.py` simulates the visitors,
`observation.py` records the run's events, `recording.py` writes them for the stage to play, `receiver.py` is an OSC
host, `checks.py` decides what is wrong, and `report.py` defines the report.  The cluster is used from outside only, over HTTP and OSC.
"""

from wmkml.rehearsal.main import run_rehearsal
from wmkml.rehearsal.report import Report

__all__ = ["Report", "run_rehearsal"]
