"""The Tk fallback: a window that shows the dying language where no OSC host does.  It speaks to the owner over HTTP."""
