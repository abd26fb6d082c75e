"""The commands of `python -m wmkml`: one small file each, found by its name and imported only when it is called.

A command file has a docstring, whose first line is the help text, `add_arguments(parser)`, and
`main(arguments) -> int`, which returns the exit status.
"""
