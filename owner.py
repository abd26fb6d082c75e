#!/usr/bin/env python3
"""The owner: `env/bin/python owner.py [--config FILE] …` keeps the run, its clock, visitors, pairs and rounds (:8000)."""

import argparse

from wmkml.system.memory import QuickEnd

if __name__ == "__main__":
    ending = QuickEnd()
    from wmkml.config.arguments import add_settings_arguments, settings_of
    from wmkml.owner.main import serve

    parser = argparse.ArgumentParser(description=__doc__)
    add_settings_arguments(parser)
    ending.leave(serve(*settings_of(parser.parse_args())))
