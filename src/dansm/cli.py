"""The command line: ``dansm --help``.

Commands import what they need, most of which takes seconds, when they are called.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

from dansm.errors import InputError, InterruptedTraining, TrainingError

if TYPE_CHECKING:
    from dansm.catalogue import Pick
    from dansm.config import Config
    from dansm.data.store import Store
    from dansm.models.autoencoders import Codec
    from dansm.workflow.run_lookups import RunLookups

app = typer.Typer(
    help="Distance-aware noise-sample matching for rectified flow and diffusion models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

CONFIG = Path("config/config.yaml")
SCHEMA = Path("config/config.schema.json")
_SAMPLER = typer.Option(help="One of the section samplers of the configuration")
_MORE = typer.Option("--configfile", help="As for snakemake: more configuration")


@contextmanager
def _one_line() -> Iterator[None]:
    """End the command with one line where the user can act on an error."""
    try:
        yield
    except (InputError, TrainingError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def summary(
    comparisons: list[str],
    scale: Annotated[str | None, typer.Option(help="One of the config's scales")] = None,
    configfile: Annotated[list[Path] | None, _MORE] = None,
) -> None:
    """Print what the workflow measured for comparisons, and where the pictures are."""
    from rich.console import Console

    from dansm.publish.summary import print_summary

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    with _one_line():
        print_summary(console, _config(configfile, scale=scale), comparisons)


@app.command()
def train(folder: Path, configfile: Annotated[list[Path] | None, _MORE] = None) -> None:
    """Train the run of a folder, or continue it, beside Snakemake.

    For torchrun across nodes; docs/cluster.md shows how. FOLDER is
    results/runs/DATASET/RUN/seedSEED, its dataset is in results/data.
    """
    from dansm.data.store import open_store
    from dansm.training import trainer as training

    try:
        with _one_line():
            look, dataset, name, seed = _parts(folder, configfile)
            run = look.config.run(dataset, name, seed)
            with _recorded(Path(look.results), folder):
                training.train(
                    look.config.run_settings(run, seed),
                    open_store(Path(look.results) / "data" / dataset),
                    folder,
                    **{key: Path(path) for key, path in look.before(run, seed).items()},
                    trackers=look.config.trackers,
                )
    except InterruptedTraining as interruption:
        typer.echo(interruption)
        raise typer.Exit(os.EX_TEMPFAIL) from None


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run")],
    output: Annotated[Path, typer.Argument(help="NAME.npz, or a new folder for PNG files")],
    sampler: Annotated[str, _SAMPLER] = "euler",
    steps: Annotated[int, typer.Option(min=1, help="Ignored by rk45")] = 10,
    count: Annotated[int, typer.Option(min=1, help="Number of images")] = 64,
    first: Annotated[int, typer.Option(min=0, help="Number of the first image")] = 0,
    configfile: Annotated[list[Path] | None, _MORE] = None,
) -> None:
    """Generate images from a finished run; image k always starts from the same noise."""
    from dansm import single_steps

    with _one_line():
        look, dataset, *_ = _parts(run, configfile)
        store, codec = _scene(look, dataset)
        images = single_steps.sample_run(
            run,
            store,
            codec.decode,
            sampler=_sampler(look.config, sampler),
            steps=steps,
            first=first,
            count=count,
        )
        single_steps.save_images(images, store, output)
    typer.echo(output)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run")],
    folder: Annotated[Path, typer.Argument(help="A new folder")],
    configfile: Annotated[list[Path] | None, _MORE] = None,
) -> None:
    """Write a finished run's model as a folder that plain diffusers loads, with a model card."""
    with _one_line():
        look, dataset, *_ = _parts(run, configfile)
        licence = look.config.dataset(dataset).licence
        autoencoder = look.autoencoder(SimpleNamespace(dataset=dataset))
        # Not before: what is no run need not wait for it.
        from dansm.publish.export import export_run

        export_run(run, folder, licence, Path(autoencoder) if autoencoder else None)
    typer.echo(f"{folder}: {folder / 'README.md'} says how it is sampled")


@app.command()
def evaluate(
    images: Annotated[
        Path, typer.Argument(help="A run, a folder of images, or NAME.npz of sample")
    ],
    dataset: Annotated[str | None, typer.Option(help="To compare with; of a run: its own")] = None,
    extractor: Annotated[str | None, typer.Option(help="Default: the dataset's first")] = None,
    results: Annotated[Path, typer.Option(help="Where the dataset's features are")] = Path(
        "results"
    ),
    sampler: Annotated[str, _SAMPLER] = "euler",
    steps: Annotated[int, typer.Option(min=1, help="Of a run's sampler")] = 10,
    count: Annotated[int, typer.Option(min=4, help="Images of a run")] = 500,
    configfile: Annotated[list[Path] | None, _MORE] = None,
) -> None:
    """Print the distances of images to a dataset's real ones, as CSV.

    The real images' features are made by snakemake results/features/DATASET/PART/EXTRACTOR.npz,
    where DATASET is the one of pixels, and PART training and, where it keeps some, held_out.
    """
    from dansm import single_steps
    from dansm.metrics.extractors import make_extractor
    from dansm.metrics.statistics import ReferenceFeatures

    with _one_line():
        of_run = (images / "run.json").exists()
        if of_run:
            look, dataset, *_ = _parts(images, configfile)
        elif dataset is None:
            raise InputError(f"{images}: expected --dataset for images that are not of a run")
        else:
            look = _look(results, configfile)
        names = look.config.dataset(dataset).features
        if (extractor or names[0]) not in names:
            raise InputError(f"--extractor: expected one of {names}, found {extractor!r}")
        name = extractor or names[0]
        store, codec = _scene(look, dataset)
        asked = SimpleNamespace(dataset=dataset, extractor=name)
        network = make_extractor(
            name,
            store,
            classifier_path=look.weights(asked).get("classifier"),
            **look.extractor_settings(asked),
        )
        references = {
            part: ReferenceFeatures.load(Path(path), network.identity)
            for part, path in zip(look.parts(asked), look.references(asked), strict=True)
        }
        if of_run:
            sampled = single_steps.sample_run(
                images,
                store,
                codec.decode,
                sampler=_sampler(look.config, sampler),
                steps=steps,
                first=0,
                count=count,
            )
            batches = (batch.images for batch in sampled)
        else:
            batches = single_steps.read_images(images, store)
        found = single_steps.evaluate_images(batches, network, references)
    typer.echo("metric,feature_extractor,reference,n_samples,value")
    for part, measured in found.items():
        for one in measured:
            typer.echo(f"{one.metric},{name},{part},{one.n_samples},{one.value:.6g}")


@app.command()
def match(
    samples: Annotated[Path, typer.Argument(help="NAME.npy, or NAME.npz with an array samples")],
    output: Annotated[Path, typer.Argument(help="NAME.npz, gets noise, samples and index")],
    coupling: Annotated[str, typer.Option(help="See docs/couplings.md")] = "greedy",
    match_size: Annotated[int, typer.Option(help="Of couplings that have one")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    batch_size: Annotated[int, typer.Option(min=1)] = 250,
) -> None:
    """Pair samples with noises by a coupling."""
    from dansm import single_steps
    from dansm.catalogue import COUPLINGS, Pick

    with _one_line():
        if coupling not in COUPLINGS:
            raise InputError(f"unknown coupling {coupling!r}; expected one of {sorted(COUPLINGS)}")
        sized = "match_size" in COUPLINGS[coupling].options.__dataclass_fields__
        pick = Pick(coupling, {"match_size": match_size} if sized else {})
        paired = single_steps.match_file(
            samples, output, coupling=pick, seed=seed, batch_size=batch_size
        )
    typer.echo(f"{output}: {paired} pairs")


@app.command()
def archive(
    files: Annotated[list[Path], typer.Argument(help="Results, below results/")],
) -> None:
    """Copy results to results/reference/, with what made them, and write the pages anew.

    A figure's tables go with it.
    """
    from dansm.publish import pages
    from dansm.publish.archive import DRAWN, LARGEST, REFERENCE
    from dansm.publish.archive import archive as add

    with _one_line():
        drawn = all(path.is_relative_to(DRAWN) for path in files)
        for path in add(files, DRAWN if drawn else Path("results")):
            typer.echo(f"left out, larger than {LARGEST:,} bytes: {path}")
        pages.write_pages(REFERENCE)


@app.command()
def pages(
    check: Annotated[
        bool, typer.Option("--check", help="Only check that they are up to date")
    ] = False,
) -> None:
    """Write what the pages have from results/reference/, notebooks and the catalogue."""
    from dansm.publish import pages as generated
    from dansm.publish.archive import REFERENCE

    with _one_line():
        if not check:
            generated.write_pages(REFERENCE)
            return
        for path, text in generated.pages(REFERENCE).items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                raise InputError(f"{path}: out of date; run `dansm pages`")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A results folder")] = Path("results"),
) -> None:
    """Read all results and name those altered, missing, or made by no job."""
    from dansm.io.records import JOBS, Records

    with _one_line():
        if not (folder / JOBS).is_dir():
            raise InputError(f"{folder}: expected a results folder with {JOBS}/, found none")
        wrong = list(Records(folder).verify())
    for line in wrong:
        typer.echo(line)
    if wrong:
        raise typer.Exit(1)
    typer.echo(f"{folder}: all files are as their jobs made them")


@app.command()
def schema(
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the file is up to date")
    ] = False,
) -> None:
    """Write the JSON schema of the configuration, for completion in editors."""
    from dansm.config import config_schema

    text = config_schema()
    if not check:
        SCHEMA.write_text(text, encoding="utf-8")
    elif not SCHEMA.exists() or json.loads(SCHEMA.read_text()) != json.loads(text):
        typer.echo(f"{SCHEMA}: out of date; run `dansm schema`", err=True)
        raise typer.Exit(1)


@app.command()
def plan(
    targets: Annotated[
        list[str] | None, typer.Argument(help="As for snakemake; default: all")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="One of the config's scales")] = None,
    gpu: Annotated[str | None, typer.Option(help="Plan for a GPU with this in its name")] = None,
    configfile: Annotated[list[Path] | None, _MORE] = None,
    every_rule: Annotated[
        bool, typer.Option("--every-rule", help="Those that take seconds have lines of their own")
    ] = False,
) -> None:
    """Print what targets cost before they are made: jobs, hours, disk, downloads."""
    from dansm.workflow.dry_run import planned_jobs

    with _one_line():
        config = _config(configfile, scale=scale)
        jobs = planned_jobs(targets or ["all"], scale, configfile or [])
        # Not before: a refused target need not wait for it.
        from dansm.workflow.planning import make_plan

        typer.echo(make_plan(config, jobs, gpu=gpu).text(every_rule))


def _scene(look: RunLookups, dataset: str) -> tuple[Store, Codec]:
    """Return what images of a dataset need: it may be one of latents, compared as pixels."""
    from dansm.data.store import open_store
    from dansm.models.autoencoders import Codec

    of_dataset = SimpleNamespace(dataset=dataset)
    store = open_store(Path(look.pixel_store(of_dataset)))
    return store, Codec.load(look.autoencoder(of_dataset) or None)


def _sampler(config: Config, name: str) -> Pick:
    if name not in config.samplers:
        raise InputError(f"unknown sampler {name!r}; expected one of {sorted(config.samplers)}")
    return config.samplers[name]


def _recorded(results: Path, folder: Path) -> AbstractContextManager[bool]:
    """Return the record of a training beside Snakemake, which the first of its processes keeps."""
    from dansm.io.records import recorded
    from dansm.io.run_folder import MODEL, RUN, SNAPSHOTS, STATS

    if int(os.environ.get("RANK", 0)) > 0:
        return nullcontext()
    outputs = [folder / name for name in (MODEL, SNAPSHOTS, STATS, RUN)]
    name = folder.relative_to(results / "runs").as_posix()
    return recorded(results, "train_model", name, outputs)


def _config(more: Sequence[Path] | None, **changes: str | None) -> Config:
    """Return the configuration, with what further files and the command say in place of it.

    What the command does not say is None.
    """
    from dansm.config import parse_config, read_yaml

    files = {str(path): read_yaml(path) for path in (CONFIG, *(more or []))}
    for path, one in files.items():
        if not isinstance(one, dict):
            raise InputError(f"{path}: expected keys with values, found {one!r:.80}")
    content = deepcopy(files[str(CONFIG)])
    if more:
        from snakemake.utils import update_config

        for path in more:
            update_config(content, deepcopy(files[str(path)]))
    said = {key: value for key, value in changes.items() if value is not None}
    return parse_config(content | said, str(CONFIG), files)


def _look(results: Path, more: Sequence[Path] | None = None) -> RunLookups:
    """Return look-ups in the configuration at the scale that a results folder is of."""
    from dansm.workflow.run_lookups import RunLookups

    # A checkout may be called results, too.
    scaled = results.parent.name == "results" != results.name
    scale = results.name if scaled else None
    look = RunLookups(_config(more, scale=scale))
    look.results = results.as_posix()
    return look


def _parts(folder: Path, more: Sequence[Path] | None = None) -> tuple[RunLookups, str, str, int]:
    """Return look-ups in the results folder of a run's, its dataset, name and seed."""
    found = re.fullmatch(r"(.+)/runs/([^/]+)/([^/]+)/seed(\d+)", folder.as_posix().rstrip("/"))
    if found is None:
        raise InputError(f"{folder}: expected results/runs/DATASET/RUN/seedSEED")
    results, dataset, name, seed = found.groups()
    return _look(Path(results), more), dataset, name, int(seed)


if __name__ == "__main__":
    app()
