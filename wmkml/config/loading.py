"""Reading settings: `config.yaml`, the understudy's file laid over it, single values over both, and what is wrong in them.

Knows YAML and how to tell an operator about a mistake; knows no key by name beyond the model's.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import yaml
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from wmkml.config.schema import General, Settings, sections

UNDERSTUDY = "understudy"
"""The `model_name` of the small bilingual model that ships with the project."""

OVERLAY_NAME = "config.understudy.yaml"
"""The file, beside `config.yaml`, that is laid over it when the understudy runs."""


class ConfigError(ValueError):
    """A setting that cannot be used.  Its text names file, key, value and what is allowed, and is fit for an operator."""


def allowed(field: FieldInfo) -> str:
    """What a setting may be, in words, read from its type and bounds."""
    return _allowed_type(field.annotation, field.metadata)


def _allowed_type(annotation: Any, metadata: Sequence[Any]) -> str:
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        flat = [part for item in more for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
        return _allowed_type(inner, [*metadata, *flat])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(str(one) for one in arguments)
    if origin is list:
        return f"a list of {_plural(arguments[0])}"
    if origin is dict:
        return "texts by language, as de: …"
    if arguments:
        return " or ".join(_allowed_type(one, []) for one in arguments)
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
    """Read config.yaml, lay config.understudy.yaml over it if the understudy runs, then the overrides.

    Args:
        path: the config file; none means the defaults alone.
        model: replaces `general.model_name` (and so decides about the overlay).
        overrides: values by dotted key, as `{"finetuning.num_total_iters": 3}`; they win over everything.
        overlay: the understudy's file, where there is none beside `path`.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, or a value is not allowed.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if path is not None:
        layers.append((path.name, _read(path)))
    chosen = model or _model_of(layers)
    if chosen == UNDERSTUDY:
        beside = path.parent / OVERLAY_NAME if path is not None else None
        laid_over = beside if beside is not None and beside.is_file() else overlay
        if laid_over is not None:
            layers.append((laid_over.name, _read(laid_over)))
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
        raise ConfigError("\n".join(_told(error, merged, origin))) from None


def _model_of(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    for _, content in layers:
        general = content.get("general")
        if isinstance(general, Mapping) and isinstance(general.get("model_name"), str):
            return str(general["model_name"])
    return str(General.model_fields["model_name"].default)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist. Give the path of a config file with --config.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path.name}, line {line}: not UTF-8 text. Save the file as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # The parser's own text may quote the line, and so a token; its problem alone does not.
        raise ConfigError(f"{path.name}{where}: not YAML: {getattr(error, 'problem', 'unreadable')}.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: holds no sections. It starts with general:, finetuning: or inference:.")
    return content


def _check_keys(source: str, content: Mapping[str, Any]) -> None:
    problems = []
    everywhere = [f"{section}.{key}" for section, model in sections().items() for key in model.model_fields]
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
            elsewhere = [name for name in everywhere if name.partition(".")[2] == key]
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


def _told(error: ValidationError, merged: Mapping[str, Mapping[str, Any]], origin: Mapping[str, str]) -> list[str]:
    told: dict[str, str] = {}
    for item in error.errors():
        where = item["loc"]
        if len(where) < 2:
            text = str(item["msg"]).removeprefix("Value error, ")
            key = text.partition(":")[0]
            told[key] = f"{origin.get(key, 'config')}: {text}."
            continue
        section, key = str(where[0]), str(where[1])
        dotted = f"{section}.{key}"
        field = sections()[section].model_fields[key]
        secret = field.annotation is SecretStr or dotted == "general.hf_token"
        value = "the value" if secret else repr(merged[section][key])
        told[dotted] = f"{origin.get(dotted, 'config')}: {dotted}: {value} is not allowed; allowed: {allowed(field)}."
    return list(told.values())


def differences(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Every setting that differs from its default: dotted key → (value, default); secrets masked."""
    default, found = Settings(), {}
    for section in sections():
        ours, theirs = getattr(settings, section), getattr(default, section)
        for key in type(ours).model_fields:
            value, usual = getattr(ours, key), getattr(theirs, key)
            if value != usual:
                masked = isinstance(value, SecretStr)
                found[f"{section}.{key}"] = ("********" if masked else value, "" if masked else usual)
    return found


def dump(settings: Settings) -> str:
    """All settings as YAML that `load_settings` reads back, secrets in the clear: for a file only its owner can read."""
    content = settings.model_dump(mode="json")
    content["general"]["hf_token"] = settings.general.hf_token.get_secret_value()
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
