"""`python -m wmkml.cluster`, which `master_script.sh` becomes: the same as `python -m wmkml cluster`."""

import sys

from wmkml.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["cluster", *sys.argv[1:]]))
