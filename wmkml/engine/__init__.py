"""Engines turn token ids and an adapter into tokens: vLLM, or transformers where vLLM does not run.

`protocol.py` defines what an engine is; both implementations pass the same tests (`tests/engine/test_contract.py`).
"""
