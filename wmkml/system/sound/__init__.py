"""Where this machine sounds, and how loud."""
