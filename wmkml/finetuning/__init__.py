"""Finetuning from the command line: any corpus, any causal language model, on the project's one training loop.

`session.py` says in which order everything happens; the other modules do not know each other's order.
"""
