"""Training on several devices at once: a process (rank) for each, which compute one optimizer step together.

`group`: what the training loop does with the others.  `pool`: starting the ranks, calling them, and what becomes of one
that dies.  `sharding`: a base model of which each rank holds a part.  `trainer`: rounds on all ranks, for the worker.
"""
