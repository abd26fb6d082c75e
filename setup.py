"""What pyproject.toml cannot say: a wheel carries copies of the checkout's `config.understudy.yaml` and of two of its data sets
inside the package.

No link in the repository stands for them: not every file system and archive keeps links.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

OVERLAY = "config.understudy.yaml"
DATASETS = ("alltag_de", "everyday_en")
"""What visitors of the laboratory say where there is no folder `Datasets`."""


class BuildWithOverlay(build_py):
    """Builds the package's modules, and lays the understudy's settings and the visitors' prompts beside them."""

    def run(self) -> None:
        super().run()
        # An editable installation uses the checkout's own files.
        if self.editable_mode:
            return
        shutil.copyfile(Path(__file__).with_name(OVERLAY), Path(self.build_lib, "wmkml", "config", OVERLAY))
        for name in DATASETS:
            folder = Path(self.build_lib, "wmkml", "laboratory", "datasets", name)
            shutil.copytree(Path(__file__).with_name("Datasets") / name, folder, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithOverlay})
