"""Reading of configuration files."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dansm.config.configuration import Config
from dansm.config.problems import describe
from dansm.config.scale import at_scale
from dansm.errors import InputError

# Far above any configuration, far below what a few lines of YAML can unfold to.
_MOST_VALUES = 1_000_000


def parse_config(
    content: Any, name: str = "config", files: Mapping[str, Any] | None = None
) -> Config:
    """Validate a configuration given as nested dictionaries and lists, and apply its scale.

    Parameters
    ----------
    name
        Of the file that it is from, mostly.
    files
        Contents of all files that it was joined from, by name; messages then say in which of them
        a key is, or that it is in none, but from the command line.

    Raises
    ------
    InputError
        Naming every wrong key with its value and what was expected instead.
    """
    try:
        _check_size(content, name)
        return at_scale(Config.model_validate(content))
    except RecursionError:
        raise InputError(f"{name}: expected a configuration, found too deep a nesting") from None
    except UnicodeEncodeError as error:  # "\ud800" in YAML is half a character
        raise InputError(f"{name}: expected text, found {error.object!a}") from None
    except ValidationError as error:
        lines = [line for _, line in describe(error, Config)]
        if files is not None:
            lines = [_where(line, content, name, files) + line for line in lines]
        # Without the cause, whose own text would hold the values in full.
        raise InputError("\n  ".join([f"{name} is not valid:", *lines])) from None


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
        If the file is missing, is not YAML, repeats a key or unfolds to too much.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
        _check_size(content, str(path))
        return content
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: expected a configuration file, found none ({error})") from error
    except RecursionError:
        raise InputError(f"{path}: expected a configuration, found too deep a nesting") from None
    except Exception as error:  # of every kind, on tags and values that do not go together
        raise InputError(f"{path}: expected valid YAML, found {error}") from error


def _where(line: str, content: Any, name: str, files: Mapping[str, Any]) -> str:
    """Return the file that the key at the beginning of a line is in, unless it is the main one."""
    keys = re.split(r"[.\[\]: ]+", line)
    depths = {file: _depth(keys, inside) for file, inside in files.items()}
    deepest = max(depths.values(), default=0)
    if _depth(keys, content) > deepest:
        return "--config: "
    # Those beside the main one replace what it says.
    found = [file for file, depth in depths.items() if depth == deepest > 0 and file != name]
    return f"{found[-1]}: " if found else ""


def _depth(keys: list[str], content: Any) -> int:
    depth = 0
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            break
        content, depth = content[key], depth + 1
    return depth


def _check_size(content: Any, name: str) -> None:
    if _size(content, {}) > _MOST_VALUES:
        raise InputError(f"{name}: expected at most {_MOST_VALUES:,} values, found more")


def _size(content: Any, known: dict[int, int]) -> int:
    """Return the number of values, where what is repeated by reference counts each time."""
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in known:
        known[id(content)] = _MOST_VALUES  # for what holds itself
        parts = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(content)]


class _Loader(yaml.SafeLoader):
    """YAML itself forbids repeated keys; PyYAML would keep the last without a word."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        times = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in node.value:
            if key.value != "<<" and isinstance(key, yaml.ScalarNode) and times[key.value] > 1:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key.value!r} twice", key.start_mark
                )
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, "merges of too many keys", node.start_mark
            )


def config_schema() -> str:
    """Return the JSON schema of the configuration file, for completion in editors."""
    schema = Config.model_json_schema()
    # An entry of runs is one run with a name, or several that share what stands beside their grid.
    run = schema["$defs"]["Run"]
    own = {key: kind for key, kind in run["properties"].items() if key not in ("dataset", "name")}
    cell = {"additionalProperties": False, "properties": own, "type": ["object", "null"]}
    grid = {"additionalProperties": {"$ref": "#/$defs/RunOfGrid"}, "minProperties": 1}
    alone = {"required": [key for key in run["required"] if key != "dataset"]}
    schema["$defs"] |= {
        "RunOfGrid": cell,
        "Run": run
        | {"properties": run["properties"] | {"grid": {"type": "object"} | grid}}
        | {"required": ["dataset"], "oneOf": [alone, {"required": ["grid"]}]},
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
