"""Model folders: what one must hold, and how it is fetched from a hub."""
