"""Engines on other machines: what a node serves there, and how the head spreads answers over them.

A node speaks the protocol of `vllm serve` (`vllm_routes.py`), and adapters are sent to it as archives (`node_service.py`).
"""
