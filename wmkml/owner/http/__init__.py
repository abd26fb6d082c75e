"""The owner's HTTP routes.  A route reads and checks its request and calls the part of the owner that does the work."""
