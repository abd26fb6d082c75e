"""The disk: files read ahead, files that a command writes, and a service's own temporary folder."""
