"""Single steps of the workflow on files of one's own, for the command line."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dansm.catalogue import SOLVERS, Pick
from dansm.config import ImageFolderSource, Part
from dansm.couplings import Batch, make_coupling
from dansm.data.sources import image_folder
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.arrays import read_arrays, write_arrays
from dansm.io.files import atomic_path
from dansm.io.records import is_proven
from dansm.io.run_folder import read_run
from dansm.metrics.distances import Measurement, measure
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.png import kept_as_png
from dansm.metrics.sampling import Decode, Images, generate
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.trained import load_model
from dansm.processes.samplers import Sampler

BATCH = 250


def sample_run(
    folder: Path,
    store: Store,
    decode: Decode,
    *,
    sampler: Pick,
    steps: int,
    first: int,
    count: int,
) -> Iterator[Images]:
    """Yield batches of images of a finished run, ``first … first + count - 1``.

    Image k is the same image as in the workflow's own evaluation.

    Parameters
    ----------
    store, decode
        The pixel store of the run's dataset, and from the network's space to images.
    steps
        Of the sampler; one that has its own ignores them.

    Raises
    ------
    InputError
        If the run is not finished, or its process has no such sampler or steps.
    """
    settings = read_run(folder).settings
    own = SOLVERS[sampler.name].adaptive or "times" in sampler.options
    try:
        yield from generate(
            load_model(folder, settings),
            Sampler(settings.process, sampler),
            store,
            decode,
            shape=settings.shape,
            steps=0 if own else steps,
            first=first,
            count=count,
            batch_size=BATCH,
        )
    except ValueError as error:
        raise InputError(f"{folder}: {settings.process.name}: {error}") from error


def save_images(batches: Iterator[Images], store: Store, path: Path) -> None:
    """Write images to an npz (``images``, ``nfe``, ``value_range``), or as PNG into a new folder.

    Raises
    ------
    InputError
        If the folder is not empty, or the images don't fit into PNG files.
    """
    if path.suffix == ".npz":
        target = output_file(path)
        parts = list(batches)
        images = torch.cat([part.images for part in parts]).cpu().numpy()
        nfe = np.concatenate([np.full(len(part.images), part.nfe) for part in parts])
        write_arrays(target, {"images": images, "nfe": nfe, "value_range": store.value_range})
        return
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: expected a name ending in .npz, or a new or empty folder")
    for _ in kept_as_png(batches, path, store):
        pass


def read_images(path: Path, store: Store) -> Iterator[Tensor]:
    """Yield batches of what `save_images` wrote, or of any folder's images, in a store's range.

    Raises
    ------
    InputError
        If there are no images, or of another shape or range than the store's.
    """
    shape = tuple(store.array.shape[1:])
    if path.suffix != ".npz":
        source = ImageFolderSource(kind="image_folder", folder=path, labels=False)
        low, high = store.value_range or (0, 0)
        for block in image_folder.read(source, shape, torch.get_num_threads()).blocks:
            values = torch.from_numpy(block) * ((high - low) / 255) + low
            yield values.round().to(torch.from_numpy(np.empty(0, store.array.dtype)).dtype)
        return
    arrays = read_arrays(path, ("images", "value_range"))
    images, found = arrays["images"], tuple(arrays["value_range"].tolist())
    if (images.shape[1:], images.dtype, found) != (shape, store.array.dtype, store.value_range):
        raise InputError(
            f"{path}: expected images of shape {shape} and {store.array.dtype} in "
            f"{store.value_range}, found {images.shape[1:]} and {images.dtype} in {found}"
        )
    yield from torch.from_numpy(images).split(BATCH)


def evaluate_images(
    batches: Iterator[Tensor],
    extractor: Extractor,
    references: Mapping[Part, ReferenceFeatures],
) -> dict[Part, list[Measurement]]:
    """Return all metrics of images against the features of each part of the real ones.

    Raises
    ------
    InputError
        If there are fewer than four images, which precision and recall need.
    """
    found = Features.joined([extractor(batch) for batch in batches])
    if len(found.features) < 4:
        raise InputError(f"expected at least 4 images, found {len(found.features)}")
    return {
        part: measure(found, reference, extractor, everything=True)
        for part, reference in references.items()
    }


def match_file(path: Path, output: Path, *, coupling: Pick, seed: int, batch_size: int) -> int:
    """Pair the samples of a file with noises and write an npz; return how many were paired.

    Parameters
    ----------
    path
        An npy, or an npz with ``samples``: floating point, shape (n, ...), as a model sees them.
    output
        Gets ``noise``, ``samples`` and ``index`` (the samples' rows in the file), pair by pair.
    coupling
        That needs to know nothing else of the dataset.
    batch_size
        How many samples the coupling gets at a time.

    Raises
    ------
    InputError
        If the file holds no such samples, they don't suit the coupling, or the output is the input
        or no file.
    """
    target = output_file(output, path)
    samples = _samples(path)
    rows = torch.arange(len(samples))
    batches = (
        Batch(part, {"index": index})
        for part, index in zip(samples.split(batch_size), rows.split(batch_size), strict=True)
    )
    with atomic_path(target) as partial, open(partial, "wb") as file:
        try:
            pairs = list(make_coupling(coupling.name, seed=seed, **coupling.options).pairs(batches))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        np.savez_compressed(
            file,
            noise=torch.cat([part.noise for part in pairs]).numpy(),
            samples=torch.cat([part.samples for part in pairs]).numpy(),
            index=torch.cat([part.extras["index"] for part in pairs]).numpy(),
        )
    return len(samples)


def output_file(path: Path, *inputs: Path) -> Path:
    """Return the file that an output is written to, the target where the path is a link.

    Raises
    ------
    InputError
        If it is one of the inputs, on whatever way, a result of a job, or a folder, a device or the
        like.
    """
    try:
        target = path.resolve()
        if not target.exists():
            return target
        if not target.is_file():
            kind = "folder" if target.is_dir() else "device or pipe"
            raise InputError(f"{path}: expected the name of a file, found a {kind}")
        for one in inputs:
            if one.exists() and target.samefile(one):
                raise InputError(f"{path}: expected another file than the input, found {one}")
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise InputError(f"{path}: expected the name of a file, found: {error}") from error
    if is_proven(target):
        raise InputError(f"{path}: expected an output of its own, found a result of a job")
    return target


def _samples(path: Path) -> Tensor:
    array = read_arrays(path, ("samples",))["samples"]
    if array.ndim < 2 or array.size == 0 or array.dtype.newbyteorder("=") not in ("f4", "f8"):
        raise InputError(
            f"{path}: expected float32 or float64 samples of shape (n, ...), no side of it 0, "
            f"found {array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=False))
