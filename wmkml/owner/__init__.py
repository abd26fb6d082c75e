"""The owner (:8000): the run and its clock, stations, pairs, rounds, the doors that visitors and frontends knock on.

Starts in a second: imports no torch, no vLLM, no transformers.
"""
