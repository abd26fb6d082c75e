#!/usr/bin/env python3
"""The Tk fallback: `env/bin/python gui.py [--config FILE] …` opens a window that shows the run and lets one talk."""

import argparse
import sys

from wmkml.config.arguments import add_settings_arguments, settings_of
from wmkml.gui.main import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_settings_arguments(parser)
    sys.exit(serve(*settings_of(parser.parse_args())))
