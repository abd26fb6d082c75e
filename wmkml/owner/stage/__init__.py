"""The stage, that is the projection: access to it, the artist's folder, and its routes."""
