"""What is wrong with this machine and this installation, what that means, and the command that mends it.

Facts are observed first (`facts.py`, `observing.py`, and the launcher for what its plan decides); a check is a pure function
over them that names an outcome of its table.  `examination.py` has all checks; docs, terminal and desk show the same.
"""
