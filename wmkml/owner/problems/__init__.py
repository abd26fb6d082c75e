"""Which named problems the owner has now, since when, and who is told."""
