"""Configurations with something wrong in them: refused in words, and never by a traceback."""

import copy

import numpy as np

from dansm.config import parse_config, read_yaml
from dansm.errors import InputError
from dansm.figures.notebooks import read_notebooks
from dansm.workflow.lookups import Lookups

from ..unit.test_project import ROOT

VALUES = [
    *(None, True, False, 0, -1, 1, 3, 1e300, float("nan"), float("inf"), 10**30, 0.5),
    *(
        "",
        "vanilla",
        "euler",
        "../..",
        "a b",
        "{dataset}",
        "\ud800",
        "~",
        "$NOWHERE/x",
        "é",
        "x" * 300,
    ),
    *([], {}, [None], [[]], {"": None}, {"a": {}}, [1, 1], {"greedy": {"match_size": 0}}),
]


def places(content, path=()):
    """Yield the way to every value."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def mutated(content, rng):
    """Return what was changed, and the configuration with it."""
    content = copy.deepcopy(content)
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        ways = list(places(content))
        *path, key = ways[rng.integers(len(ways))]
        parent = content
        for part in path:
            parent = parent[part]
        way = rng.choice(["value", "value", "delete", "rename", "other", "twice"])
        if way == "value":
            parent[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        elif way == "delete":
            del parent[key]
        elif way == "rename" and isinstance(parent, dict):
            parent[str(VALUES[rng.integers(len(VALUES))])] = parent.pop(key)
        elif way == "twice" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            found = content
            for part in ways[rng.integers(len(ways))]:
                found = found[part] if not isinstance(found, dict) or part in found else None
                if found is None:
                    break
            parent[key] = copy.deepcopy(found)
        done.append(f"{'.'.join(map(str, (*path, key)))}: {way}")
    return "; ".join(done), content


def test_no_configuration_ends_in_a_traceback(request):
    content = read_yaml(ROOT / "config/config.yaml")
    notebooks = read_notebooks(ROOT / "notebooks")
    faults = []
    for trial in range(request.config.getoption("--fuzz")):
        done, changed = mutated(content, np.random.default_rng([7, trial]))
        try:
            Lookups(parse_config(changed), notebooks).all_results()
        except InputError as error:
            if not str(error):
                faults.append(f"{done}: no word")
        except Exception as error:
            faults.append(f"{trial} {done}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)


def test_no_text_of_a_configuration_ends_in_a_traceback(tmp_path, request):
    text = (ROOT / "config/config.yaml").read_bytes()
    faults = []
    for trial in range(request.config.getoption("--fuzz") // 10):
        rng = np.random.default_rng([8, trial])
        changed = bytearray(text)
        for place in rng.integers(len(text), size=rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        (tmp_path / "config.yaml").write_bytes(changed[: rng.integers(1, len(text) * 4)])
        try:
            parse_config(read_yaml(tmp_path / "config.yaml"))
        except InputError:
            pass
        except Exception as error:
            faults.append(f"{trial}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)
