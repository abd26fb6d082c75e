"""Models: what a folder must hold, how it is fetched from a hub, and the device that computes it."""
