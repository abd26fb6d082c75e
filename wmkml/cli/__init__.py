"""The commands of `python -m wmkml`: one small file each, found by name, loaded only when asked for.

A command file has a docstring (its first line is the help text), `add_arguments(parser)` and `main(arguments) -> int`.
"""
