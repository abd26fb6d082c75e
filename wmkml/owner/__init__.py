"""The owner (:8000): the run and its clock, stations, pairs, rounds, and the HTTP routes of visitors and frontends.

It starts in a second: it imports no torch, no vLLM, no transformers.
"""
