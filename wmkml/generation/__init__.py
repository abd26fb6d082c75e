"""Any causal model of transformers asked without services: with an adapter and the template it was taught with, token by token.

`sources.py` tells what a name means, `speaker.py` loads it, `answering.py` lets it speak, `probabilities.py` looks at every
token; `comparison.py` puts several side by side, and `conversation.py` is a talk in a terminal.
"""
