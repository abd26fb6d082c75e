"""When visitors may talk: opening hours, what the operator decides instead, and panic."""
