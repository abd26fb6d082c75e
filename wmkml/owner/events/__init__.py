"""The events of a run, published to OSC, to the event stream and to the log."""
