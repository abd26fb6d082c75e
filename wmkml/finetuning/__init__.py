"""Finetuning from the command line: any corpus, any causal language model, on the project's one training loop.

`preparation/` finds out all that can be known before the model is loaded; `session.py` says in which order everything then
happens, and the other modules do not know each other's order.
"""
