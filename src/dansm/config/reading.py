"""Reading of configuration files, and what is said of a wrong one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from dansm.config.configuration import Config
from dansm.config.runs import RunEntry
from dansm.config.scale import at_scale
from dansm.errors import InputError


def parse_config(content: Any, name: str = "config") -> Config:
    """Validate a configuration given as nested dictionaries and lists, and apply its scale.

    Raises
    ------
    InputError
        Naming every wrong key with its value and what was expected instead.
    """
    try:
        return at_scale(Config.model_validate(content))
    except ValidationError as error:
        raise InputError(
            f"{name} is not valid:\n  " + "\n  ".join(describe(error, Config))
        ) from error


def load_config(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises
    ------
    InputError
        If the file is missing, is not YAML or is not valid.
    """
    return parse_config(read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which no mapping holds a key twice.

    Raises
    ------
    InputError
        If the file is missing, is not YAML or repeats a key.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise InputError(f"{path}: expected a configuration file, found none ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected valid YAML, found {error}") from error


def config_schema() -> str:
    """Return the JSON schema of the configuration file, for completion in editors."""
    return json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n"


class _UniqueKeys(yaml.SafeLoader):
    """YAML itself forbids repeated keys; PyYAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1 and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def describe(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """Yield a line for each problem: the key, what was expected and what was found."""
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        for line in _message(problem, model).split("\n"):
            yield f"{key}: {line}" if key and not line.startswith(f"{key}[") else line


def _message(problem: Any, model: type[BaseModel]) -> str:
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        siblings = _siblings(problem["loc"][:-1], model)
        return f"unknown key (value {problem['input']!r}){siblings}"
    if problem["type"] == "missing" and isinstance(problem["input"], dict):
        return problem["msg"]
    return f"{problem['msg']}, found {problem['input']!r}"


def _siblings(place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Name the keys that there are at a place in the configuration, where that is plain."""
    here: Any = model
    for part in place:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = None if field is None else field.annotation
            if part == "runs" and model is Config:
                here = list[RunEntry]
        else:  # a list, a mapping, or one of several
            inner = [kind for kind in get_args(here) if kind is not type(None)]
            here = inner[-1] if len(inner) <= 2 else None
        inner = [kind for kind in get_args(here) if kind is not type(None)]
        if isinstance(here, type) or len(inner) != 1 or getattr(here, "__origin__", None) is list:
            continue
        (here,) = inner
    known = isinstance(here, type) and issubclass(here, BaseModel)
    return f"; expected one of {sorted(here.model_fields)}" if known else ""
