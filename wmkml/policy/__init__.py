"""The decisions of a run: schedules, and which pairs a round trains on.

Pure functions and tables: no clock, no disk.
"""
