"""Reading the understudy's YAML files; the world alone is 200 kB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wmkml.config.yaml_text import parse_yaml


def load_yaml(path: Path) -> Any:
    """The content of a file of ours.  Raises yaml.YAMLError for what is no YAML."""
    return parse_yaml(path.read_text(encoding="utf-8"))
