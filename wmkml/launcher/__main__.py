"""`python -m wmkml.launcher`, run by `master_script.sh`: the same as `python -m wmkml cluster`."""

import sys

from wmkml.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["cluster", *sys.argv[1:]]))
