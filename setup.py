"""What pyproject.toml cannot say: a wheel carries a copy of the checkout's `config.understudy.yaml` inside the package.

No link in the repository stands for it: not every file system and archive keeps links.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

OVERLAY = "config.understudy.yaml"


class BuildWithOverlay(build_py):
    """Builds the package's modules, and lays the understudy's settings beside those of `wmkml.config`."""

    def run(self) -> None:
        super().run()
        # An editable installation uses the checkout's own file.
        if not self.editable_mode:
            shutil.copyfile(Path(__file__).with_name(OVERLAY), Path(self.build_lib, "wmkml", "config", OVERLAY))


setup(cmdclass={"build_py": BuildWithOverlay})
