"""Runs on disk: a run's folder, its database and its `.jsonl` files, in one form for installation and laboratory.

`schema.py` defines the tables and rows, `store.py` reads and writes them, `folder.py` creates the folder.
"""
