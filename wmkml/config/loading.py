"""Reads settings in layers: `config.yaml`, the understudy's overlay, then single values.

All mistakes are reported together, each with its file, key and value, in words for an operator.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import yaml
from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from wmkml.config.schema import Settings, sections
from wmkml.config.sections.declaring import web_address
from wmkml.config.sections.general import General
from wmkml.config.yaml_text import parse_yaml

UNDERSTUDY = "understudy"
"""The `model_name` of the small bilingual model that ships with the project."""

OVERLAY_NAME = "config.understudy.yaml"
"""The overlay: the file beside `config.yaml` whose values replace its own when the understudy runs."""


class ConfigError(ValueError):
    """A setting cannot be used.  The text, meant for an operator, names file, key, value and what is allowed."""


def describe_allowed(field: FieldInfo) -> str:
    """The values that a setting may have, in words, from its type and bounds."""
    return _describe_type(field.annotation, field.metadata)


def _describe_type(annotation: Any, metadata: Sequence[Any]) -> str:
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        flat = [part for item in more for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return _describe_type(inner, [*metadata, *flat])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in arguments)
    if origin is list:
        return f"a list of {_plural(arguments[0])}"
    if origin is dict and arguments[1] is Any:
        return "values by name, as name: value"
    if origin is dict:
        return "texts by language, as de: …"
    if arguments:
        return " or ".join(_describe_type(alternative, []) for alternative in arguments)
    word = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", SecretStr: "a text"}.get(
        annotation, "a value"
    )
    bounds = []
    for item in metadata:
        match item:
            case annotated_types.Ge(ge=low):
                bounds.append(f"at least {low}")
            case annotated_types.Gt(gt=low):
                bounds.append(f"above {low}")
            case annotated_types.Le(le=high):
                bounds.append(f"at most {high}")
            case annotated_types.Lt(lt=high):
                bounds.append(f"below {high}")
            case AfterValidator(func=check) if check is web_address:
                word = "an address, as https://example.org/path or with a port up to 65535, or nothing"
            case _:
                pass
    return " ".join([word, " and ".join(bounds)]).strip()


def _plural(annotation: Any) -> str:
    return "lists of texts" if typing.get_origin(annotation) is list else "texts"


def load_settings(
    path: Path | None = None,
    *,
    model: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    overlay: Path | None = None,
) -> Settings:
    """Read config.yaml, apply config.understudy.yaml over it if the understudy runs, then the overrides.

    Args:
        path: the config file; None: the defaults alone.
        model: replaces `general.model_name`, and so decides whether the overlay applies.
        overrides: values by dotted key, such as `{"finetuning.num_total_iters": 3}`; they win over everything.
        overlay: the overlay to use where there is none beside `path`.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value is not allowed.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if path is not None:
        layers.append((path.name, _read(path)))
    chosen = model or _model_of(layers)
    if chosen == UNDERSTUDY:
        beside = path.parent / OVERLAY_NAME if path is not None else None
        applied = beside if beside is not None and beside.is_file() else overlay
        if applied is not None:
            layers.append((applied.name, _read(applied)))
    if model is not None:
        layers.append(("--model", {"general": {"model_name": model}}))
    for key, value in (overrides or {}).items():
        section, _, name = key.partition(".")
        layers.append((f"--set {key}", {section: {name: value}}))

    merged: dict[str, dict[str, Any]] = {}
    origin: dict[str, str] = {}
    for source, content in layers:
        _check_keys(source, content)
        for section, values in content.items():
            for key, value in (values or {}).items():
                merged.setdefault(section, {})[key] = value
                origin[f"{section}.{key}"] = source
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_error_lines(error, merged, origin))) from None


def _model_of(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    for _, content in layers:
        general = content.get("general")
        if isinstance(general, Mapping) and isinstance(general.get("model_name"), str):
            return str(general["model_name"])
    return str(General.model_fields["model_name"].default)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist. Give the path of a config file with --config.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path.name}, line {line}: not UTF-8 text. Save the file as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # The error's text may quote the line, and with it a token; its `problem` does not.
        raise ConfigError(f"{path.name}{where}: not YAML: {getattr(error, 'problem', 'unreadable')}.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: holds no sections. It starts with general:, finetuning: or inference:.")
    return content


def _check_keys(source: str, content: Mapping[str, Any]) -> None:
    problems = []
    known = [f"{section}.{key}" for section, model in sections().items() for key in model.model_fields]
    for section, values in content.items():
        if section not in sections():
            problems.append(f"{source}: {section!r} is no section{_nearest(str(section), list(sections()))}.")
            continue
        if values is None:
            continue
        if not isinstance(values, Mapping):
            problems.append(f"{source}: section {section!r} holds {type(values).__name__}, not keys with values.")
            continue
        for key in values:
            if key in sections()[section].model_fields:
                continue
            elsewhere = [name for name in known if name.partition(".")[2] == key]
            hint = (
                f": it belongs to {elsewhere[0]}"
                if elsewhere
                else _nearest(str(key), list(sections()[section].model_fields))
            )
            problems.append(f"{source}: {section}.{key} is not a setting{hint}.")
    if problems:
        raise ConfigError("\n".join(problems))


def _nearest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.0)
    return f"; did you mean {close[0]}?" if close else ""


def _error_lines(
    error: ValidationError, merged: Mapping[str, Mapping[str, Any]], origin: Mapping[str, str]
) -> list[str]:
    """One line for each wrong setting, which names the layer that its value comes from."""
    lines: dict[str, str] = {}
    for item in error.errors():
        where = item["loc"]
        if len(where) < 2:
            text = str(item["msg"]).removeprefix("Value error, ")
            key = text.partition(":")[0]
            lines[key] = f"{origin.get(key, 'config')}: {text}."
            continue
        section, key = str(where[0]), str(where[1])
        dotted = f"{section}.{key}"
        field = sections()[section].model_fields[key]
        secret = field.annotation is SecretStr or dotted == "general.hf_token"
        value = "the value" if secret else repr(merged[section][key])
        lines[dotted] = (
            f"{origin.get(dotted, 'config')}: {dotted}: {value} is not allowed; allowed: {describe_allowed(field)}."
        )
    return list(lines.values())


def non_default_settings(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Every setting that differs from its default, as (value, default) by dotted key; secrets are masked."""
    defaults, changed = Settings(), {}
    for name, section in sections().items():
        for key in section.model_fields:
            value, default = getattr(getattr(settings, name), key), getattr(getattr(defaults, name), key)
            if value != default:
                masked = isinstance(value, SecretStr)
                changed[f"{name}.{key}"] = ("********" if masked else value, "" if masked else default)
    return changed


def dump(settings: Settings) -> str:
    """All settings as YAML that `load_settings` reads back.  Secrets are in clear: write it to a private file only."""
    content = settings.model_dump(mode="json")
    content["general"]["hf_token"] = settings.general.hf_token.get_secret_value()
    for name in ("alert_url", "heartbeat_url"):
        content["general"][name] = getattr(settings.general, name).get_secret_value()
    content["inference"]["url_key"] = settings.inference.url_key.get_secret_value()
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
