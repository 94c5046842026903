"""The RO-Crate: read back by its library, against what its profile requires."""

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from dansm.errors import InputError
from dansm.io.files import write_json, write_text
from dansm.publish.crate import write_crate

from ..test_project import ROOT
from .test_report import made


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder with a run and a table of it, as seen from the project's folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results")
    table, run = folder / "fid_digits.csv", folder / "runs" / "0" / "run.json"
    write_text(table, "value\n1\n")
    write_json(run, {"seed": 0})
    started = "2026-11-20T08:00:00+00:00"
    made(folder, "train", [folder / "data"], [run, folder / "model"], 7200, started=started)
    made(folder, "collect", [run], [table], 2)
    return folder


def write(results):
    config = {"scale": None, "report": ["digits"]}
    path = Path("crate.zip")
    write_crate([results / "fid_digits.csv"], results, config, path, ROOT / "workflow")
    return path


def ids(values):
    return [value.id for value in (values if isinstance(values, list) else [values])]


def test_it_has_what_the_profile_requires(results):
    crate = ROCrate(write(results))
    root = crate.root_dataset
    # Workflow Run Crate 0.5: the root conforms to it, and should to what it extends.
    assert {
        "https://w3id.org/ro/wfrun/workflow/0.5",
        "https://w3id.org/ro/wfrun/process/0.5",
        "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
    } <= set(ids(root["conformsTo"]))
    assert all(entity.type == "CreativeWork" for entity in root["conformsTo"])
    # Workflow RO-Crate: the main entity, its types and language, and a licence.
    main = crate.mainEntity
    assert main.id == "workflow/Snakefile"
    assert set(main.type) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    assert main["programmingLanguage"]["name"] == "Snakemake"
    assert root["license"].id.endswith("Apache-2.0") and root["datePublished"]
    # Process Run Crate: an action each, with an instrument, mentioned by the root.
    actions = crate.get_by_type("CreateAction")
    assert {action.id for action in actions} == set(ids(root["mentions"]))
    for action in actions:
        assert action["instrument"] is not None and action["name"]
        assert re.fullmatch(r"2026-11-20T\d\d:\d\d:\d\d\+00:00", action["endTime"])
    (run,) = [action for action in actions if action["instrument"] is main]
    assert (run["startTime"][11:16], run["endTime"][11:16]) == ("08:00", "10:00")
    assert ids(run["object"]) == ["config.yaml"]
    assert set(ids(run["result"])) == {"results/fid_digits.csv", "results/runs/0/run.json"}
    collect = next(action for action in actions if action["name"].startswith("collect"))
    assert ids(collect["object"]) == ["results/runs/0/run.json"]
    assert ids(collect["result"]) == ["results/fid_digits.csv"]
    software = {entity["name"]: entity for entity in main["softwareRequirements"]}
    assert software["torch"]["softwareVersion"] == "2.7"
    assert all(entity.type == "SoftwareApplication" for entity in software.values())


def test_every_file_is_there_and_is_what_is_said_of_it(results):
    path = write(results)
    with zipfile.ZipFile(path) as zipped:
        content = {name: zipped.read(name) for name in zipped.namelist()}
    graph = json.loads(content.pop("ro-crate-metadata.json"))
    assert "https://w3id.org/ro/terms/workflow-run/context" in graph["@context"]
    files = {
        entity["@id"]: entity for entity in graph["@graph"] if "File" in entity.get("@type", [])
    }
    assert set(files) == set(content)
    for name, entity in files.items():
        if name != "workflow/Snakefile":
            assert entity["sha256"] == hashlib.sha256(content[name]).hexdigest()
    assert content["results/fid_digits.csv"] == (results / "fid_digits.csv").read_bytes()
    for name in ("workflow/rules/runs.smk", "workflow/scripts/train_model.py"):
        assert content[name] == (ROOT / name).read_bytes()
    assert b"report:\n- digits\n" in content["config.yaml"]
    # Every reference leads to an entity of the crate.
    known = {entity["@id"] for entity in graph["@graph"]}
    found = set(re.findall(r'\{"@id": "([^"]*)"\}', json.dumps(graph)))
    pages = ("https://w3id.org/ro/crate/", "https://snakemake.", "https://doi.org/")
    assert all(address.startswith(pages) for address in found - known)


def test_results_without_a_record_are_refused(results):
    write_text(results / "other.csv", "1")
    with pytest.raises(InputError, match=r"other.csv: expected a result and the record of its job"):
        write_crate([results / "other.csv"], results, {}, Path("crate.zip"), ROOT / "workflow")
    assert not Path("crate.zip").exists()
