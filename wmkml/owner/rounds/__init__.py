"""The rounds of a run: opened, offered to workers, loaded, held, switched in."""
