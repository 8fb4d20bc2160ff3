"""The configuration: checked against the schema, completed with its defaults, and split by what it affects."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from zipcrop.errors import ConfigError
from zipcrop.settings import Settings, Speed, canonical

Schema = dict[str, Any]
Config = dict[str, Any]


def load_schema(path: str | Path) -> Schema:
    """The JSON schema at `path` (YAML)."""
    schema: Schema = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return schema


def complete(config: Config, schema: Schema) -> Config:
    """`config` with every key that it leaves out set to the schema's default.

    A number or truth value may be written as text, which is what Snakemake makes of some on its command line. Raises
    ConfigError, one sentence that names the key, for an unknown key, a wrong type or a value out of bounds.
    """
    config = _read_texts(config, schema)
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(config))
    if problem is not None:
        raise ConfigError(_sentence(problem, schema))
    completed = _with_defaults(config, schema)
    for key, _ in keys(schema):
        value = _lookup(completed, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"config: {key} is {value}, but must be a finite number")
    if "://" in completed["output"]:
        raise ConfigError(f"config: output is {completed['output']!r}, but must be a folder; upload_to takes a URL")
    if (completed["device"], completed["engine"]) == ("cuda", "openvino"):
        raise ConfigError("config: engine openvino does not run on device cuda; set engine to auto or torch")
    if completed["precision"] == "int8" and (completed["device"] == "cuda" or completed["engine"] == "torch"):
        raise ConfigError(
            "config: precision int8 is for the OpenVINO engine on the CPU; "
            "set device and engine to auto, or precision to f32"
        )
    return completed


def keys(schema: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Every leaf key of the schema with its subschema; nested ones as `crop.padding`."""
    for key, subschema in schema["properties"].items():
        if "properties" in subschema:
            yield from keys(subschema, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", subschema


def result_settings(config: Config) -> Settings:
    """The settings in the complete `config` that change results."""
    nested: dict[str, Any] = {key: config[key] for key in ("crop", "limits")}
    flat = {f"{key}.{name}": value for key, values in nested.items() for name, value in values.items()}
    return Settings.from_flat({**config, **flat})


def speed_settings(config: Config) -> Speed:
    """The settings in the complete `config` that change speed alone."""
    return Speed(**{field.name: config[field.name] for field in dataclasses.fields(Speed)})


def _lookup(config: Config, dotted: str) -> Any:
    for part in dotted.split("."):
        config = config[part]
    return config


def _read_texts(config: Config, schema: Schema) -> Config:
    """`config` with texts such as `0.4` and `true` read as YAML where the schema does not want a text."""
    known = schema["properties"]
    return {
        key: _read_texts(value, known[key])
        if isinstance(value, dict) and "properties" in known.get(key, {})
        else _read_text(value)
        if isinstance(value, str) and known.get(key, {}).get("type") != "string"
        else value
        for key, value in config.items()
    }


def _read_text(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _with_defaults(config: Config, schema: Schema) -> Config:
    return {
        key: _with_defaults(config.get(key, {}), subschema)
        if "properties" in subschema
        else canonical(config.get(key, subschema["default"]))
        for key, subschema in schema["properties"].items()
    }


def _sentence(problem: jsonschema.ValidationError, schema: Schema) -> str:
    path = ".".join(str(part) for part in problem.absolute_path)
    if problem.validator == "additionalProperties":
        known = list(schema["properties"][path]["properties"] if path else schema["properties"])
        instance: Any = problem.instance
        unknown = next(key for key in instance if key not in known)
        name = f"{path}.{unknown}" if path else str(unknown)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known keys are {', '.join(known)}"
        return f"config: unknown key {name}; {advice}"
    return f"config: {path or 'the configuration'} is {problem.instance!r}, but must be {_expectation(path, schema)}"


def _expectation(path: str, schema: Schema) -> str:
    """What the value at `path` may be, in words."""
    subschema = dict(keys(schema)).get(path)
    if subschema is None:
        return "a mapping of keys to values"
    if "anyOf" in subschema:
        return " or ".join(_in_words(option) for option in subschema["anyOf"])
    return _in_words(subschema)


def _in_words(subschema: Schema) -> str:
    if "const" in subschema:
        return str(subschema["const"])
    if "enum" in subschema:
        return "one of " + ", ".join(subschema["enum"])
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}
    words = [kind[subschema["type"]]]
    if "exclusiveMinimum" in subschema:
        words.append(f"above {subschema['exclusiveMinimum']}")
    if "minimum" in subschema:
        words.append(f"from {subschema['minimum']}")
    if "maximum" in subschema:
        words.append(f"up to {subschema['maximum']}")
    if "multipleOf" in subschema:
        words.append(f"that is a multiple of {subschema['multipleOf']}")
    if "x-form" in subschema:
        words.append(subschema["x-form"])
    return " ".join(words)
