"""What is measured once of every iteration: recorded as it comes in, and told once the iteration answers."""
