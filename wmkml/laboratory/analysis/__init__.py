"""`python -m wmkml analyse`: what finetuning does to a language, measured on models and on answers made elsewhere.

`answers.py` reads answers, `output_diversity.py` measures them, `frames.py` and `figures.py` show what was measured.
"""
