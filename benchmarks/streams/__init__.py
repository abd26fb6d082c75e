"""The parts of `benchmarks/serving.py`: a client, and the servers that it asks."""
