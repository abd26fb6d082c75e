"""Measures of how a language dies: of its texts, of the model, and by dictionaries."""
