"""Measures that a model takes by reading texts: the base model reads answers, an iteration reads what people wrote."""
