"""Reading YAML by libyaml, in a tenth of the time that PyYAML's own parser takes: services read some of it before they answer."""

from __future__ import annotations

from typing import Any

import yaml


def parse_yaml(text: str) -> Any:
    """What a text of YAML holds.

    Raises:
        yaml.YAMLError: it is not YAML; as PyYAML's own parser says it, which is the same with and without libyaml.
    """
    # PyYAML's wheels bring libyaml for every platform; one that was built without it reads slowly.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError:
        return yaml.safe_load(text)
