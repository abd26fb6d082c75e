"""The rehearsal: simulated visitors live through one whole run of a real cluster, and a report tells how it went.

`main.py` gets ready and writes the report, `run.py` lives through the run, `visitors.py` are the visitors, `watching.py`
follows the run's events, `receiver.py` is an OSC host of its own, `checks.py` decides what is wrong, `report.py` is the
report's form.  It meets the cluster only as others do, over HTTP and OSC, and knows nothing of how the services work.
"""

from wmkml.rehearsal.main import play
from wmkml.rehearsal.report import Report

__all__ = ["Report", "play"]
