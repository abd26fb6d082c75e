#!/usr/bin/env python3
"""Fetch a model from the hub: `env/bin/python download_model.py [MODEL_ID] [--to FOLDER] [--token TOKEN]`."""

import sys

from wmkml.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["download", *sys.argv[1:]]))
