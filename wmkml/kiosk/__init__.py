"""Chromium on one or two screens of an exhibition: full screen, without ways out, restarted when it fails, black instead of an error.

Knows the owner by its address alone.  One Chromium and one fresh profile for each screen, gone when it ends.
"""
