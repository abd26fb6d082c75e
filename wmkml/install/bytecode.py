"""Compiling the modules of an environment once, when it is installed.

Python keeps what it compiled of a module, so that only the first import is slow.  It does not where
PYTHONDONTWRITEBYTECODE is set, as in many images of containers, nor where another user owns the files: there each of our
processes would compile thousands of modules of torch, transformers and vLLM at every start, which takes longer than all
else they do then (`benchmarks/imports.py`).  Standard library only.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from wmkml.install.environment import python_of
from wmkml.system.cores import usable_cores

NEVER_IMPORTED = r"/site-packages/.*/tests?/"
"""Modules by their path: the tests that libraries bring."""


def compile_modules(env: Path, *packages: Path) -> None:
    """Compile the libraries of an environment, and these packages; what is compiled already stays.

    A file that is no valid Python, as some libraries bring for other versions, is passed over.
    """
    folders = [*env.glob("lib/python3.*/site-packages"), *packages]
    command: list[str | Path] = [
        python_of(env),
        "-m",
        "compileall",
        "-q",
        "-j",
        str(usable_cores()),
        "-x",
        NEVER_IMPORTED,
        *folders,
    ]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
