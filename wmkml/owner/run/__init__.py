"""The current run: its store, clock and tasks, and the fate of its folder on disk."""
