"""Files of results in which a bit has flipped or that were cut: refused, named, in one line."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from dansm.couplings import fit_potentials
from dansm.data.pair_store import Trajectories, open_pairs, write_pairs
from dansm.data.store import open_store, write_store
from dansm.errors import InputError
from dansm.io.arrays import read_arrays, write_arrays
from dansm.io.records import JOBS, Records, is_proven, recorded
from dansm.io.tables import PATH_COLUMNS, read_table, write_table
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.autoencoders import Codec, write_random_autoencoder
from dansm.models.trained import load_model

from .factories import make_settings, write_run

SETTINGS = make_settings()
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)


def build_store(folder):
    about = {"count": 6, "shape": (1, 4, 4), "dtype": "uint8", "value_range": (0, 255)}
    labels = np.arange(6)
    write_store(folder, [IMAGES], **about, source="a test", licence="none", labels=labels)


def build_pairs(folder):
    identity = {"teacher": SETTINGS.plain(), "count": 4, "states": 0, "steps": 2}
    points = torch.randn(4, 2, 1, 4, 4)
    write_pairs(folder, folder.parent / "work", lambda k: Trajectories(points, 2), identity, [], 4)


def build_table(path):
    write_table(path, [dict.fromkeys(PATH_COLUMNS, 1)], PATH_COLUMNS)


def read_store(folder):
    open_store(folder)


# What a job makes, how, and who reads it.
RESULTS = {
    "data/digits": (build_store, read_store),
    "pairs/digits": (build_pairs, open_pairs),
    "runs/toy/vanilla/seed0": (
        lambda folder: write_run(folder, "vanilla", SETTINGS),
        lambda folder: load_model(folder, SETTINGS),
    ),
    "models/vae": (
        lambda folder: write_random_autoencoder((1, 8, 8), (1, 4, 4), folder),
        lambda folder: Codec.load(folder, "cpu"),
    ),
    "features/x.npz": (
        lambda path: ReferenceFeatures.of(np.random.default_rng(1).random((9, 3)), "x").save(path),
        lambda path: ReferenceFeatures.load(path, "x"),
    ),
    "potentials/x.npz": (
        lambda path: fit_potentials(
            torch.rand(6, 1, 4, 4), seed=0, steps=2, batch_size=4, progress=False
        ).save(path),
        is_proven,  # as `dansm.training.inputs` does before it reads them
    ),
    "samples.npz": (
        lambda path: write_arrays(path, {"images": IMAGES}),
        lambda path: read_arrays(path, ["images"]),
    ),
    "paths.csv": (build_table, lambda path: read_table(path, PATH_COLUMNS)),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    for name, (build, read) in RESULTS.items():
        with recorded(root, "build", name.replace("/", "-"), [root / name]):
            build(root / name)
        read(root / name)
    assert list(Records(root).verify()) == []
    return root


def damage(content, draws):
    """Flip a bit, or cut the file."""
    if draws.random() < 0.2:
        return content[: draws.randrange(len(content))]
    changed = bytearray(content)
    changed[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("name", RESULTS)
def test_no_damaged_file_is_taken_up(results, name):
    draws = random.Random(name)
    read, result = RESULTS[name][1], results / name
    files = [result] if result.is_file() else [f for f in result.rglob("*") if f.is_file()]
    files = [file for file in files if not file.name.startswith(".")]
    for path in [draws.choice(files) for _ in range(50)]:
        stat, content = path.stat(), path.read_bytes()
        path.write_bytes(damage(content, draws))
        if draws.random() < 0.5:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with (
            pytest.raises(InputError) as of_job,
            recorded(results, "read", "x", [results / "x.csv"], inputs=[result]),
        ):
            pytest.fail("the job must not begin")
        if path.parent.name == "snapshots":  # read by evaluations, jobs of the workflow
            of_reader = of_job
        else:
            with pytest.raises(InputError) as of_reader:
                read(result)
        for caught in (of_job, of_reader):
            assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
        assert [line.split(": ")[0] for line in Records(results).verify()] == [str(path)]
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    read(result)


def test_no_damaged_record_is_taken_up(results):
    draws = random.Random(0)
    for path in [draws.choice(list(Path(results, JOBS).rglob("*.json"))) for _ in range(100)]:
        content = path.read_bytes()
        path.write_bytes(damage(content, draws))
        with pytest.raises(InputError, match=f"^{path}: ") as caught:
            Records(results)
        assert "\n" not in str(caught.value)
        path.write_bytes(content)
