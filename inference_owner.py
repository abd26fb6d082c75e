#!/usr/bin/env python3
"""Inference (:8011): `env/bin/python inference_owner.py [--config FILE] [--engine E] …` serves the model that dies."""

import argparse
import sys

from wmkml.cluster.arguments import add_settings_arguments, settings_of
from wmkml.inference.main import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_settings_arguments(parser)
    sys.exit(serve(*settings_of(parser.parse_args())))
