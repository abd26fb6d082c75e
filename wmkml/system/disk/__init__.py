"""The disk: files read ahead, and a service's own temporary folder."""
