"""What is left of a run: its numbers as a record, and the report that is drawn from them."""
