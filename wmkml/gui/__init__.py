"""The Tk fallback: where no OSC host shows the dying language, a window does.  It speaks to the owner over HTTP only."""
