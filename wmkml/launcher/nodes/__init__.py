"""A machine that joins another's installation as a node: what it is told by the head, and what runs on it."""
