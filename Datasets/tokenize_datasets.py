#!/usr/bin/env python3
"""Check and count the prompt sets: `env/bin/python Datasets/tokenize_datasets.py [--model PATH] [--all | NAME …]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wmkml.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["datasets", *sys.argv[1:]]))
