"""Words that are not to be repeated to a room, and sentences that are answered with a line of help."""
