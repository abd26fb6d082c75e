"""Runs on disk: a run's folder, its database and its `.jsonl` files, in one form for installation and laboratory.

`schema.py` defines the tables and rows, `database.py` opens the file and writes it, `store.py` has what is asked of it and
told to it, `folder.py` creates the folder.
"""
