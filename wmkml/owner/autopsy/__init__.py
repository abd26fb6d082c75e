"""The autopsy: every self of a run, asked side by side (docs/autopsy.md).

`selves.py` says what can be asked, `questions.py` asks it, `routes.py` serves it, and `live_selves.py` are those of the run
under way, in inference.  A kept run's are in `wmkml.autopsy`.
"""
