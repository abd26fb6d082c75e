"""The owner's side of inference: its client, the watch over it, and the count of its crashes over an adapter."""
