"""Export of results as a Workflow Run RO-Crate, to be archived and cited.

The crate follows the profile Workflow Run Crate 0.5: the workflow is its main entity, one action
stands for the run as a whole, and further ones for each job behind the results.
"""

import mimetypes
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from rocrate.model import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from dansm.errors import InputError
from dansm.io.files import atomic_path, sha256
from dansm.io.records import Record, Records

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_LICENCE = "https://spdx.org/licenses/Apache-2.0"
_PAPER = "https://openreview.net/forum?id=RaR3ETzyKp"
_TITLE = "Easing Training Process of Rectified Flow Models Via Lengthening Inter-Path Distance"
_TYPES = {
    ".smk": "text/x-python",
    ".yaml": "application/yaml",
    ".ipynb": "application/x-ipynb+json",
}


def write_crate(
    files: Iterable[Path],
    results: Path,
    config: Mapping[str, Any],
    path: Path,
    workflow: Path = Path("workflow"),
) -> None:
    """Write a zip with results, the runs' ``run.json``, the configuration and the workflow.

    Parameters
    ----------
    files
        Results: tables and figures.
    results
        The folder that they are in.
    config
        The resolved configuration.
    path
        The zip.
    workflow
        The folder of the Snakefile and of all that belongs to it.

    Raises
    ------
    InputError
        If a file is missing, or no record is known of the job that made it.
    """
    records = Records(results)
    wanted: list[str] = []
    jobs: list[Record] = []
    for file in map(Path, files):
        behind = records.behind(records.name(file))
        if not behind or not file.is_file():
            raise InputError(f"{file}: expected a result and the record of its job, found none")
        jobs += [job for job in behind if job not in jobs]
        wanted.append(records.name(file))
    wanted += [name for job in jobs for name in job.outputs if name.endswith("run.json")]
    jobs.sort(key=lambda job: job.started)
    crate = ROCrate(version="1.1")
    _describe(crate, jobs)
    main = _add_workflow(crate, workflow, jobs)
    with atomic_path(path) as partial:
        settings = partial.with_suffix(".yaml")
        try:
            settings.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
            resolved = _add(crate, settings, "config.yaml")
            entities = {
                name: _add(crate, records.path(name), f"results/{name}")
                for name in dict.fromkeys(wanted)
            }
            _add_actions(crate, main, resolved, entities, jobs)
            crate.write_zip(partial)
        finally:
            settings.unlink(missing_ok=True)


def _describe(crate: ROCrate, jobs: list[Record]) -> None:
    crate.metadata.extra_contexts.append(_TERMS)
    crate.name = "DANSM: results of a workflow run"
    crate.description = (
        "Tables and figures of distance-aware noise-sample matching for rectified flow and "
        "diffusion models, with the workflow that made them."
    )
    root = crate.root_dataset
    root["datePublished"] = jobs[-1].finished
    root["license"] = _entity(
        crate, _LICENCE, "CreativeWork", name="Apache License 2.0", url=_LICENCE
    )
    root["citation"] = _entity(crate, _PAPER, "ScholarlyArticle", name=_TITLE, url=_PAPER)
    root["conformsTo"] = [
        _entity(crate, address, "CreativeWork", name=name, version=address.rpartition("/")[2])
        for address, name in PROFILES.items()
    ]


def _add_workflow(crate: ROCrate, workflow: Path, jobs: list[Record]) -> Entity:
    """Add the workflow's files; its software is that of the longest job."""
    longest = max(jobs, key=lambda job: job.seconds)
    software = {"snakemake": version("snakemake"), **longest.versions}
    for file in sorted(workflow.rglob("*")):
        if file.is_file() and file.name != "Snakefile" and "__pycache__" not in file.parts:
            _add(crate, file, f"workflow/{file.relative_to(workflow).as_posix()}")
    return crate.add_workflow(
        workflow / "Snakefile",
        "workflow/Snakefile",
        main=True,
        lang="snakemake",
        lang_version=software["snakemake"],
        properties={
            "name": "DANSM",
            "version": longest.commit or "unknown",
            "license": {"@id": _LICENCE},
            "softwareRequirements": [
                _entity(
                    crate,
                    f"#{name}",
                    "SoftwareApplication",
                    name=name,
                    softwareVersion=found,
                    url="https://www.python.org/"
                    if name == "python"
                    else f"https://pypi.org/project/{name}/",
                )
                for name, found in software.items()
                if found is not None
            ],
        },
    )


def _add_actions(
    crate: ROCrate,
    main: Entity,
    resolved: Entity,
    entities: dict[str, Entity],
    jobs: list[Record],
) -> None:
    run = {
        "name": "Run of the workflow",
        "description": f"{len(jobs)} jobs",
        "startTime": jobs[0].started,
        "endTime": max(str(job.finished) for job in jobs),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    made = list(entities.values())
    actions = [
        crate.add_action(main, identifier="#run", object=[resolved], result=made, properties=run)
    ]
    for number, job in enumerate(jobs):
        tool = crate.get(f"#rule-{job.rule}") or _entity(
            crate, f"#rule-{job.rule}", "SoftwareApplication", name=f"Rule {job.rule}"
        )
        of = ", ".join(f"{key} {value}" for key, value in job.wildcards.items())
        device, processor = (job.hardware.get(key) for key in ("device", "processor"))
        actions.append(
            crate.add_action(
                tool,
                identifier=f"#job-{number}",
                object=[entities[name] for name in job.inputs if name in entities],
                result=[entities[name] for name in job.outputs if name in entities],
                properties={
                    "name": f"{job.rule} {of}".strip(),
                    "description": f"On {device}, {processor}, at commit {job.commit}; "
                    f"made {', '.join(job.outputs)}",
                    "startTime": job.started,
                    "endTime": job.finished,
                },
            )
        )
    crate.root_dataset["mentions"] = actions


def _add(crate: ROCrate, file: Path, name: str) -> Entity:
    kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "text/plain"
    about = {
        "name": Path(name).name,
        "encodingFormat": kind,
        "contentSize": str(file.stat().st_size),
        "sha256": sha256(file),
    }
    return crate.add_file(file, name, properties=about)


def _entity(crate: ROCrate, identifier: str, kind: str, **properties: str) -> Entity:
    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))
