#!/usr/bin/env python3
"""Inference (:8011): `env/bin/python inference_owner.py [--config FILE] [--engine E] …` serves the model that dies."""

import argparse

from wmkml.system.memory import QuickEnd, no_garbage_collection

if __name__ == "__main__":
    ending = QuickEnd()
    # Here, not above: vLLM's own processes, which are started anew, import this file as well and need nothing of the service.
    from wmkml.config.arguments import add_settings_arguments, settings_of
    from wmkml.inference.main import serve

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--node",
        action="store_true",
        help="be a node of another machine's inference (./master_script.sh --join starts it)",
    )
    add_settings_arguments(parser)
    arguments = parser.parse_args()
    ending.leave(serve(*settings_of(arguments), node=arguments.node))
elif __name__ == "__mp_main__":
    with no_garbage_collection():
        import vllm.v1.engine.core  # noqa: F401 - what such a process imports next, with a fifth less of the processor's time
