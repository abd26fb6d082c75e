"""The disk: its free space, and files read ahead."""
