"""vLLM's own OpenAI-compatible HTTP server, with the arguments that inference gives to its engine.

env/bin/python -m benchmarks.streams.vllm_server CONFIG PORT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from wmkml.config import load_settings
from wmkml.config.paths import paths_of
from wmkml.engine.build import engine_setup
from wmkml.engine.vllm_engine import engine_arguments, vllm_environment

NOT_THE_SERVERS = {"skip_tokenizer_init", "disable_log_stats", "enable_log_requests"}
"""Arguments of an engine that gets token ids; this server must read text."""


def main(config: Path, port: str) -> None:
    """Serve until killed."""
    settings = load_settings(config)
    setup = engine_setup(settings, paths_of(settings, config.parent).model)
    os.environ.update(vllm_environment(setup))
    import uvloop
    from vllm.entrypoints.launchers.api_server.entry import run_server
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.platforms import current_platform
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(["--port", port, "--host", "127.0.0.1"])
    for name, value in engine_arguments(setup, on_cpu=bool(current_platform.is_cpu())).items():
        if name not in NOT_THE_SERVERS:
            setattr(arguments, name, value)
    arguments.served_model_name = ["model"]
    arguments.disable_uvicorn_access_log = True
    arguments.disable_log_stats = True
    validate_parsed_serve_args(arguments)
    uvloop.run(run_server(arguments))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
