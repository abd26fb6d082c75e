#!/usr/bin/env python3
"""The worker: `env/bin/python finetune_worker.py [--config FILE] [--owner URL] …` trains the rounds the owner offers."""

import argparse

from wmkml.system.memory import QuickEnd, no_garbage_collection

if __name__ == "__main__":
    ending = QuickEnd()
    with no_garbage_collection():
        from wmkml.config.arguments import add_settings_arguments, settings_of
        from wmkml.worker.main import serve

    parser = argparse.ArgumentParser(description=__doc__)
    add_settings_arguments(parser)
    parser.add_argument("--owner", metavar="URL", help="the owner, where it is on another machine")
    arguments = parser.parse_args()
    ending.leave(serve(*settings_of(arguments), owner=arguments.owner))
