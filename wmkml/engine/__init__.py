"""Engines: what turns token ids and an adapter into tokens.  vLLM, or transformers where vLLM does not run.

`protocol.py` says what an engine is; both are held to it by the same tests.  Knows nothing of HTTP or rounds.
"""
