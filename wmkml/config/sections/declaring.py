"""How a key of `config.yaml` is declared, and the types that several keys have."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr


def _number(value: Any) -> Any:
    # YAML 1.1 reads 1e-4, without a dot, as a string.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def none_is_empty(value: Any) -> Any:
    """For a secret that is left empty: YAML reads an empty value as null."""
    return "" if value is None else value


def web_address(value: SecretStr) -> SecretStr:
    """For an address that is called; nothing is none.

    Raises:
        ValueError: it has no scheme, no host, or a port that cannot be.
    """
    parts = urlsplit(value.get_secret_value())
    if parts.geturl() and (parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0):
        raise ValueError("no address")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Number, Field(gt=0)]
Seconds = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
SecretAddress = Annotated[SecretStr, BeforeValidator(none_is_empty), AfterValidator(web_address)]
"""The address of a web server, which may hold a secret; empty: none."""


def original(default: Any, description: str, **more: Any) -> Any:
    """A key of the original installation's config.yaml; `more` goes to pydantic's `Field`."""
    return _declared(default, description, is_added=False, **more)


def added(default: Any, description: str, **more: Any) -> Any:
    """A key that the original does not have."""
    return _declared(default, description, is_added=True, **more)


def _declared(default: Any, description: str, *, is_added: bool, **more: Any) -> Any:
    factory = {"default_factory": lambda: default} if isinstance(default, list | dict) else {"default": default}
    return Field(description=description, json_schema_extra={"added": is_added}, **factory, **more)


class Section(BaseModel):
    """A section of config.yaml.  Unknown keys are refused, and values are not converted to another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())
