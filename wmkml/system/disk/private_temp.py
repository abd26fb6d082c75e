"""A temporary folder of a service's own: what its engine leaves there is gone with it, also when it was killed.

vLLM leaves sockets and files (`vllm_dist_*`) in the temporary folder at every start.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path


def private_temp_folder(service: str, data: Path) -> Path:
    """The folder of a service of one installation: empty, for this user alone, and with a short path, as sockets need.

    Call it when no earlier process of the service lives any more.
    """
    name = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:8]
    folder = Path(tempfile.gettempdir()) / f"wmkml-{os.getuid()}-{service}-{name}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            return Path(tempfile.mkdtemp(prefix="wmkml-"))  # somebody else has taken the name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def use_temp_folder(folder: Path) -> None:
    """Have this process and its children use it."""
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)
