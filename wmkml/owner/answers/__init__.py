"""Answers of the dying model: to visitors, as echoes, to datasets, and on the take-home card."""
