"""Reading the understudy's YAML files, the world alone is 200 kB, by libyaml: Python's own parser takes four times as long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def load_yaml(path: Path) -> Any:
    """The content of a file of ours.  Raises yaml.YAMLError for what is no YAML."""
    # PyYAML's wheels bring libyaml for every platform; one that was built without it reads slowly.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
