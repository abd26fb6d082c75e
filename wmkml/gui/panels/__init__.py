"""What the window shows beside the conversation: the run, plots, and the OSC messages."""
