import json
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml

from dansm.config import Cluster, config_schema, load_config, parse_config, read_yaml
from dansm.errors import InputError

SHIPPED = Path(__file__).parents[3] / "config" / "config.yaml"
SCHEMA = json.loads(config_schema())


def test_all_wrong_values_are_listed_at_once(problems):
    changes = {
        "runs.1.budget_images": -1,
        "networks.small.dropout": 1.5,
        "colour": "red",
        "datasets.toy.shape": [1, 0, 8],
    }
    keys = [line.split(": ")[0] for line in problems(changes).splitlines()]
    expected = ["colour", "datasets.toy.shape.1", "networks.small.dropout", "runs[1].budget_images"]
    assert sorted(keys) == expected


def test_all_wrong_references_are_listed_at_once(problems):
    changes = {"runs.0.dataset": "moon", "runs.1.recipe": "fast", "report": ["sun"]}
    assert all(name in problems(changes) for name in ("'moon'", "'fast'", "'sun'"))


@pytest.mark.parametrize("key", ["experiments", "couplings", "coupling_ablations"])
def test_keys_of_the_old_shape_are_unknown(problems, key):
    text = problems({key: []})
    assert f"{key}: unknown key (value []); expected one of ['autoencoders', 'best_of_k'" in text
    assert "'from'" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a configuration file, found none"),
        ("a: [", "expected valid YAML, found"),
        ("a: 2024-13-45", "expected valid YAML, found"),
        ("a: " + "[" * 3000 + "]" * 3000, "found too deep a nesting"),
        ("a: &a {<<: *a}", "expected"),
        ("a: &a [*a]", "expected at most 1,000,000 values, found more"),
        ("a: &a {b: *a}", "expected at most 1,000,000 values, found more"),
        ("a: 1\na: 2", "the key 'a' twice"),
        ("", "found None"),
        ("- a", "found ['a']"),
        (b"a: \xff", "expected valid YAML, found"),
        ("a: !!timestamp x", "expected valid YAML, found"),
        ("a: !!python/object/apply:os.system [x]", "expected valid YAML, found"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert str(path) in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("value", ["[*{0}, *{0}]", "{{<<: [*{0}, *{0}]}}", "{{a: *{0}, b: *{0}}}"])
def test_anchors_that_unfold_without_end_are_refused(tmp_path, value):
    lines = ["k0: &a0 {x: 1, y: 2}"]
    lines += [f"k{i}: &a{i} {value.format(f'a{i - 1}')}" for i in range(1, 60)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "runs: *a59"]))
    with pytest.raises(InputError, match=r"expected at most|merges of too many keys") as caught:
        load_config(path)
    assert len(str(caught.value)) < 20_000


def test_nesting_that_is_not_of_a_file_is_refused_too(valid):
    deep: list = []
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(InputError, match="too deep a nesting"):
        parse_config(valid | {"runs": deep})


def test_half_a_character_is_named(valid):
    content = deepcopy(valid)
    content["samplers"]["\ud800"] = content["samplers"].pop(next(iter(content["samplers"])))
    with pytest.raises(InputError, match=r"\\ud800"):
        parse_config(content)


def test_a_merge_does_not_look_like_a_key_given_twice(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("z: &z {k: 1}\nx: {deep: {a: &a {<<: *z, k: 2}}}\ny: {<<: *a, k: 3}\n")
    z, deep, y = {"k": 1}, {"deep": {"a": {"k": 2}}}, {"k": 3}
    assert read_yaml(path) == {"z": z, "x": deep, "y": y}


def test_messages_stay_short(problems):
    assert len(problems({"colour": ["red"] * 10_000})) < 1000


def test_the_shipped_configuration_is_that_of_the_schema():
    jsonschema.validate(read_yaml(SHIPPED), SCHEMA)
    assert SCHEMA["additionalProperties"] is False
    assert json.loads(SHIPPED.with_name("config.schema.json").read_text()) == SCHEMA


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("name", 5),
        ("coupling", "greedy"),  # which needs a match size
        ("coupling", "hungry"),
        ("coupling", {"greedy": {}}),
        ("coupling", {"greedy": {"match_sise": 100}}),
        ("coupling", {"minibatch_ot": {"method": "x"}}),
        ("process", "flow"),
        ("grid", {"x": {}}),  # beside a name
        ("match_size", 100),
        ("recipe", ...),
    ],
)
def test_the_schema_refuses_wrong_entries_of_runs(place, value):
    content = deepcopy(read_yaml(SHIPPED))
    entry = next(entry for entry in content["runs"] if "name" in entry)
    entry.pop(place, None)
    if value is not ...:
        entry[place] = value
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(content)


def test_the_schema_describes_grids_and_picks():
    cell = SCHEMA["$defs"]["RunOfGrid"]["properties"]
    assert {"coupling", "times", "loss", "start", "recipe", "seeds"} <= set(cell)
    assert not {"dataset", "name"} & set(cell)
    names, *with_options = cell["coupling"]["anyOf"]
    assert "independent" in names["enum"] and "greedy" not in names["enum"]
    options = {name: one for kind in with_options for name, one in kind["properties"].items()}
    assert options["greedy"]["required"] == ["match_size"]
    baseline = SCHEMA["$defs"]["ComparisonEntry"]["properties"]["baseline"]
    assert jsonschema.Draft202012Validator(baseline).is_valid("vanilla")


def test_a_file_is_read_as_its_content_is(tmp_path, valid):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(valid, sort_keys=False))
    assert load_config(path) == parse_config(valid)


@pytest.mark.parametrize(
    ("settings", "gpus", "request_"),
    [
        ({}, 0, {"gpu": 0, "gpu_model": None, "gres": None}),
        ({}, 2, {"gpu": 2, "gpu_model": None, "gres": None}),
        ({"gpu_type": "a100"}, 2, {"gpu": 2, "gpu_model": "a100", "gres": None}),
        ({"gpu_type": "a100"}, 0, {"gpu": 0, "gpu_model": None, "gres": None}),
        ({"gpu_request": "gres"}, 2, {"gpu": 0, "gpu_model": None, "gres": "gpu:2"}),
        ({"gpu_request": "gres"}, 0, {"gpu": 0, "gpu_model": None, "gres": None}),
        (
            {"gpu_request": "gres", "gpu_type": "a100"},
            4,
            {"gpu": 0, "gpu_model": None, "gres": "gpu:a100:4"},
        ),
    ],
)
def test_gpus_are_asked_for_in_the_clusters_form(settings, gpus, request_):
    assert Cluster(**settings).request(gpus) == request_


@pytest.mark.parametrize("gpu_type", ["", "a100:2", "-x", "a b"])
def test_a_gpu_type_is_a_name(problems, gpu_type):
    assert "cluster.gpu_type: " in problems({"cluster": {"gpu_type": gpu_type}})


def test_trackers_are_names_that_accelerate_knows(problems, parsed):
    assert parsed().trackers == ["tensorboard"]
    assert parsed({"trackers": []}).trackers == []
    assert parsed({"trackers": ["wandb", "mlflow"]}).trackers == ["wandb", "mlflow"]
    found = problems({"trackers": ["tensorboard", "wanbd"]})
    assert "trackers.1: unknown tracker 'wanbd'; expected one of ['aim'," in found
    assert "trackers: expected each once" in problems({"trackers": ["wandb", "wandb"]})
    assert "trackers: " in problems({"trackers": "wandb"})


def test_a_key_is_looked_for_in_the_file_that_it_is_in(valid):
    networks = {"small": valid["networks"]["small"] | {"dropout": 1.5}}
    more = {"networks": {"small": {"dropout": 1.5}}}
    content = valid | {"networks": valid["networks"] | networks}
    with pytest.raises(InputError) as caught:
        parse_config(content, "config.yaml", {"config.yaml": valid, "more.yaml": more})
    first, *lines = str(caught.value).splitlines()
    assert first == "config.yaml is not valid:"
    assert any(line.startswith("  more.yaml: networks.small.dropout: ") for line in lines)
    targets = {"targets": {"demo": ["sun"]}}
    content = valid | targets | {"scale": "tiny", "report": ["moon"]}
    files = {"config.yaml": valid | {"report": ["moon"]}, "more.yaml": targets}
    with pytest.raises(InputError) as caught:
        parse_config(content, "config.yaml", files)
    text = str(caught.value)
    assert "  more.yaml: targets.demo: unknown 'sun'" in text and "  report: unknown 'moon'" in text
    assert "  --config: scale: unknown 'tiny'" in text
