"""Runs on disk: a run's folder, its database and its lines, the same whoever writes it.

`schema.py` names the tables, `store.py` keeps them, `folder.py` makes the folder.  Knows nothing of who plays a run, and
nothing of when it is to be deleted.
"""
