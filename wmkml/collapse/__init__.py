"""The instruments that measure how a language dies: of its texts (`texts.py`), of the model that speaks it."""
