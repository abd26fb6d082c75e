"""The autopsy of a kept run: a process of its own, in which every self of it is loaded into one engine (docs/autopsy.md).

`kept_run.py` reads the run's folder, `kept_selves.py` lets its selves speak, `server.py` serves the page with the routes of the
owner, and `terminal.py` shows answers side by side.
"""
