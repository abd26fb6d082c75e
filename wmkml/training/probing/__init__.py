"""What is measured of the model itself once an iteration: how it reads human sentences, and how far its weights were moved."""
