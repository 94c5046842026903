"""Images a second of sampling and measuring a run: without PNG files, and by way of them.

    python benchmarks/sample_without_png.py --dataset cifar10 --images 2000 --steps 10

The network is that of the dataset's first run in the configuration, with random weights: speed does
not depend on them. Without ``--inception`` the features are those of a network of Inception's
architecture with random weights, for the same reason. By way of PNG files means: sample and write
all images, then let clean-fid read the folder.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from torch import Tensor, nn
from torchvision.models import inception_v3

from dansm.config import LatentSource, load_config
from dansm.data.store import Store, open_store, write_store
from dansm.io.files import sha256
from dansm.metrics.extractors import INCEPTION_FILE, make_extractor
from dansm.metrics.png import kept_as_png
from dansm.metrics.sampling import Images, generate
from dansm.models.autoencoders import Codec
from dansm.models.networks import make_network
from dansm.processes.samplers import Sampler


class RandomInception(nn.Module):
    """Inception's architecture behind the interface of the published file."""

    def __init__(self) -> None:
        super().__init__()
        *layers, _, _ = inception_v3(weights=None, aux_logits=False, init_weights=False).children()
        self.layers = nn.Sequential(*layers, nn.Flatten())  # all but dropout and classes
        self.output = nn.Linear(2048, 1008)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        """Resize, and return the features; the other outputs are not asked for here."""
        assert return_features
        x = nn.functional.interpolate(img, [299, 299], mode="bilinear")
        return self.layers((x - 128) / 128)


class Measured(NamedTuple):
    """Seconds of each way by rounds, and how far features differ, over the largest of them."""

    seconds: dict[str, list[float]]
    difference: float


def main(
    dataset: str = "cifar10",
    images: int = 500,
    steps: int = 10,
    mode: Annotated[str, typer.Option(help="legacy_tensorflow or clean")] = "legacy_tensorflow",
    inception: Annotated[Path | None, typer.Option(help="Folder with the published file")] = None,
    workers: Annotated[int, typer.Option(help="clean-fid's readers")] = torch.get_num_threads(),
    rounds: Annotated[int, typer.Option(help="The fastest counts, after one to warm up")] = 2,
) -> None:
    """Measure and print."""
    print(
        f"{dataset}, {steps} steps, {images} images, inception_{mode} features, "
        f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'}, "
        f"{torch.get_num_threads()} threads, {workers} readers",
        flush=True,
    )
    found = measure(dataset, images, steps, mode, inception, workers=workers, rounds=rounds)
    fastest = {name: min(seconds) for name, seconds in found.seconds.items()}
    for name, taken in fastest.items():
        print(f"{name:26}{taken:9.2f} s {images / taken:9.1f} images/s")
    ratio = fastest["by way of PNG"] / fastest["without PNG"]
    print(f"ratio {ratio:.2f}; features differ by {found.difference:.1e} of the largest at most")


def measure(
    dataset: str,
    images: int,
    steps: int,
    mode: str = "legacy_tensorflow",
    inception: Path | None = None,
    *,
    workers: int,
    rounds: int,
) -> Measured:
    """Time the three ways in rounds, after one to warm up, in which they take turns."""
    config = load_config(Path("config/config.yaml"))
    run = config.runs_of(dataset)[0]
    settings, sampling = config.run_settings(run, seed=0), config.sampling(run)
    source = config.datasets[dataset].source
    latent = isinstance(source, LatentSource)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        store = _store(work / "store", config.datasets[source.of if latent else dataset].shape)
        if inception is None:
            inception = work
            torch.manual_seed(0)
            torch.jit.script(RandomInception().eval()).save(str(work / INCEPTION_FILE))
        extractor = make_extractor(
            f"inception_{mode}",
            store,
            inception_weights=inception,
            inception_sha256=sha256(inception / INCEPTION_FILE),
        )
        theirs = InceptionV3W(str(inception), download=False, resize_inside=mode != "clean")
        theirs = theirs.to(device).eval()
        autoencoder = config.autoencoders[source.autoencoder].model_dump() if latent else None
        decode = Codec.load(autoencoder, None).decode
        network = make_network(settings.network, settings.shape, seed=0).to(device).eval()
        sampler = Sampler(settings.process, sampling.samplers[next(iter(sampling.final))])

        def batches() -> Iterator[Images]:
            return generate(
                network,
                sampler,
                store,
                decode,
                shape=settings.shape,
                steps=steps,
                first=0,
                count=images,
                batch_size=sampling.batch_size,
            )

        def without() -> np.ndarray:
            return np.concatenate([extractor(batch.images).features for batch in batches()])

        def kept() -> np.ndarray:
            passed = kept_as_png(batches(), work / "png", store)
            return np.concatenate([extractor(batch.images).features for batch in passed])

        def by_way() -> np.ndarray:
            for _ in kept_as_png(batches(), work / "png", store):
                pass
            return get_folder_features(
                str(work / "png"),
                theirs,
                num_workers=workers,
                batch_size=min(images, 250),
                device=device,
                mode=mode,
                verbose=False,
            )

        ways = {
            "without PNG": without,
            "without PNG, images kept": kept,
            "by way of PNG": by_way,
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        found = {}
        for number in range(1 + rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                found[name] = way()  # of features on the CPU, so that the GPU is done
                if number > 0:
                    seconds[name].append(time.perf_counter() - started)
        largest = np.abs(found["without PNG"]).max()
        difference = np.abs(found["by way of PNG"] - found["without PNG"]).max() / largest
        return Measured(seconds, float(difference))


def _store(path: Path, shape: tuple[int, int, int]) -> Store:
    """Return a pixel store of one black image: it stands for the images' shape and range."""
    write_store(
        path,
        [np.zeros((1, *shape), np.uint8)],
        count=1,
        shape=shape,
        dtype="uint8",
        value_range=(0, 255),
        source="none",
        licence="none",
    )
    return open_store(path)


if __name__ == "__main__":
    typer.run(main)
