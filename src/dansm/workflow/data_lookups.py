"""Look-ups about datasets, their downloads, autoencoders and features; see `Lookups`."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from dansm.catalogue import EXTRACTORS
from dansm.config import INCEPTION_FILE, INCEPTION_SHA256, Config, LatentSource, Part, Source
from dansm.data.published import PublishedFile, files_are_there, published_files
from dansm.errors import InputError
from dansm.io.files import sha256
from dansm.io.records import JOBS
from dansm.workflow.own_images import OwnImages, sampled_sha256

# Snakemake's; attributes are strings.
Wildcards = Any
# Records of downloads, not below results/, since all scales share the files.
DOWNLOADS = "resources/downloads"
# Sources whose files nobody publishes, or not to everyone, or that may be had unpacked, and how
# their names may end; those of images are here, since `dansm.data.sources` takes seconds to import.
_IMAGES = """apng avif avifs bmp dib gif j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx mpo pbm pfm pgm
    png pnm ppm tif tiff webp"""
_ENDINGS = {
    "image_folder": tuple(f".{ending}" for ending in _IMAGES.split()),
    "imagenet64": (".npz",),
    "lsun": ("data.mdb",),
}

# By part of a dataset: the folder of its stores, and the rule that builds them.
FOLDERS: dict[Part, str] = {"training": "data", "held_out": "held_out"}
_BUILT_BY: dict[Part, str] = {"training": "build_dataset", "held_out": "build_held_out"}


class DataLookups:
    """What rules about data ask the configuration.

    Attributes
    ----------
    latent_datasets, pixel_datasets
        Datasets that an autoencoder makes of others, and those of images.
    with_held_out
        Of the latter, those that keep images apart.
    trained_autoencoders, published_autoencoders
        Autoencoders that the workflow trains, and those that are fetched.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.results = config.results
        self.inception = f"{self.results}/inception/{INCEPTION_FILE}"
        datasets, models = config.datasets, config.autoencoders
        self.latent_datasets = [n for n in datasets if config.pixels(n) != n]
        self.pixel_datasets = [n for n in datasets if config.pixels(n) == n]
        self.trained_autoencoders = [n for n in models if models[n].kind == "trained"]
        self.published_autoencoders = [n for n in models if models[n].kind == "pretrained"]
        self.with_held_out = [n for n in self.pixel_datasets if datasets[n].held_out]

    # Images.

    def source(self, dataset: str, part: Part = "training") -> Source:
        """Return the source of a part of a dataset, or that of its stand-in where it has one."""
        source = self._source(dataset, part)
        if not self.has_standin(dataset):
            return source
        changes: dict[str, Any] = {"folder": f"{self.results}/standins/{dataset}"}
        if "published" in type(source).model_fields:
            changes["published"] = False
        return type(source).model_validate(source.model_dump() | changes)

    def _source(self, dataset: str, part: Part) -> Source:
        found = self.config.dataset(dataset)
        if found.held_out is None:
            return found.source
        return found.held_out.source(found.source, part)

    def has_standin(self, dataset: str) -> bool:
        """Return whether a dataset's files are made up: at a scale, and where they are missing."""
        sources = [self._source(dataset, part) for part in self.config.parts(dataset)]
        return self.config.scale is not None and not all(map(files_are_there, sources))

    def standin_sources(self, wildcards: Wildcards) -> list[Source]:
        """Return the sources whose files are made up: two where the test set has its own."""
        parts = self.config.parts(wildcards.dataset)
        sources = [self.source(wildcards.dataset, part) for part in parts]
        return sources if getattr(sources[-1], "part", "training") == "test" else sources[-1:]

    def standin_images(self, wildcards: Wildcards) -> int:
        """Return how many images are made up for each."""
        most = self.config.scales[self.config.scale].images
        held_out = self.config.dataset(wildcards.dataset).held_out
        return most + ((held_out and held_out.beyond) or 0)

    def published(self, dataset: str) -> dict[str, PublishedFile]:
        """Return the files of a dataset that can be downloaded, by name."""
        return {
            name: file
            for part in self.config.parts(dataset)
            for name, file in self._published(dataset, part).items()
        }

    def _published(self, dataset: str, part: Part) -> dict[str, PublishedFile]:
        mirrors = self.config.mirrors.get(dataset, ())
        return published_files(self._source(dataset, part), mirrors)

    def checksum(self, wildcards: Wildcards) -> str | None:
        """Return what a published file must be."""
        files = self.published(wildcards.dataset)
        if wildcards.file not in files:
            raise InputError(
                f"{wildcards.dataset} has no published file {wildcards.file!r}; "
                f"expected one of {sorted(files)}"
            )
        return files[wildcards.file].checksum

    def downloads(self, wildcards: Wildcards) -> list[str]:
        """Return the records of what a dataset's training images are read from, if published."""
        return self._downloads(wildcards.dataset, "training")

    def held_out_downloads(self, wildcards: Wildcards) -> list[str]:
        """Return the same of its held-out images."""
        return self._downloads(wildcards.dataset, "held_out")

    def _downloads(self, dataset: str, part: Part) -> list[str]:
        if self.has_standin(dataset):
            return [f"{self.results}/standins/{dataset}"]
        return [f"{DOWNLOADS}/{dataset}/{file}.json" for file in self._published(dataset, part)]

    def image_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return what decides about a dataset's training images.

        Not where they lie or under which licence, nor the zip's checksum: the download sees to it.
        """
        return self._image_settings(wildcards.dataset, "training")

    def held_out_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the same of its held-out images."""
        return self._image_settings(wildcards.dataset, "held_out")

    def _image_settings(self, dataset: str, part: Part) -> dict[str, Any]:
        source = self.source(dataset, part).plain()
        kept = {key: source[key] for key in source if key not in ("folder", "sha256")}
        if (images := self._identity_of_own(dataset, part)) is not None:
            kept["images"] = images
        settings = {"source": kept, "shape": list(self.config.datasets[dataset].shape)}
        held_out = self.config.datasets[dataset].held_out
        if held_out is not None and held_out.share is not None:
            settings["share"] = held_out.share
        if part == "held_out" and held_out.beyond is not None:
            settings["beyond"] = held_out.beyond
        return settings

    @cache  # noqa: B019
    def _identity_of_own(self, dataset: str, part: Part) -> str | None:
        own = self.own_images(dataset, part)
        return None if own is None else own.identity()

    def own_images(self, dataset: str, part: Part = "training") -> OwnImages | None:
        """Return the images of a dataset whose files nobody publishes; None of others.

        An LMDB of LSUN's is one's own unless the workflow unpacks it from its zip.
        """
        source = self.source(dataset, part)
        if source.kind not in _ENDINGS or self.has_standin(dataset):
            return None
        results, folder, digest = Path(self.results), source.folder, sha256
        record = results / JOBS / _BUILT_BY[part] / f"{dataset}.json"
        if source.kind == "lsun":
            if not record.exists() and not all(map(_is_unpacked, self.published(dataset).values())):
                return None
            folder, digest = folder / f"{source.category}_lmdb", sampled_sha256
        return OwnImages(
            folder,
            _ENDINGS[source.kind],
            (source.count or source.at_most) if source.kind == "image_folder" else None,
            record,
            results / FOLDERS[part] / f".{dataset}.images.json",
            digest,
        )

    # Stores and autoencoders.

    def store(self, wildcards: Wildcards) -> str:
        """Return a dataset's store."""
        self.config.dataset(wildcards.dataset)
        return f"{self.results}/data/{wildcards.dataset}"

    def pixel_store(self, wildcards: Wildcards) -> str:
        """Return the store of a dataset's training images, in pixels."""
        return self._part_store(wildcards.dataset, "training")

    def part_store(self, wildcards: Wildcards) -> str:
        """Return the store of the part of the wildcards."""
        if wildcards.part not in self.config.parts(wildcards.dataset):
            raise InputError(f"datasets.{wildcards.dataset}: expected held_out, found none")
        return self._part_store(wildcards.dataset, wildcards.part)

    def other_store(self, wildcards: Wildcards) -> str | list[str]:
        """Return the store of the other part of the dataset's images, if it has two."""
        for part in self.config.parts(wildcards.dataset):
            if part != wildcards.part:
                return self._part_store(wildcards.dataset, part)
        return []

    def images_of_runs(self, wildcards: Wildcards) -> int | None:
        """Return how many images the runs of a dataset, and of its latents, generate for a set."""
        pixels = self.config.pixels(wildcards.dataset)
        numbers = [
            self.config.sampling(run).n_samples
            for run in self.config.runs
            if self.config.pixels(run.dataset) == pixels
        ]
        return max(numbers, default=None)

    def held_out_store(self, wildcards: Wildcards) -> str | list[str]:
        """Return the store of a dataset's held-out images, if it has any."""
        if self.config.dataset(self.config.pixels(wildcards.dataset)).held_out is None:
            return []
        return self._part_store(wildcards.dataset, "held_out")

    def _part_store(self, dataset: str, part: Part) -> str:
        return f"{self.results}/{FOLDERS[part]}/{self.config.pixels(dataset)}"

    def autoencoder(self, wildcards: Wildcards) -> str | list[str]:
        """Return the autoencoder of a dataset of latents; of another there is none."""
        source = self.config.dataset(wildcards.dataset).source
        latent = isinstance(source, LatentSource)
        return f"{self.results}/autoencoders/{source.autoencoder}" if latent else []

    def autoencoder_images(self, wildcards: Wildcards) -> str:
        """Return the store that an autoencoder is trained on."""
        return f"{self.results}/data/{self.config.autoencoders[wildcards.autoencoder].dataset}"

    def autoencoder_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return an autoencoder's settings; how many GPUs share an encoding is none of them."""
        settings = self.config.autoencoders[wildcards.autoencoder].plain()
        return {key: settings[key] for key in settings if key != "gpus"}

    def latent_shapes(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return, by latent dataset of an autoencoder, the shapes of its images and latents."""
        return self.config.latent_shapes(wildcards.autoencoder)

    def encoding(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return which latents are stored."""
        dataset = self.config.dataset(wildcards.dataset)
        sampled = dataset.source.posterior == "sample"
        settings = {"shape": list(dataset.shape), "posterior": sampled}
        return settings | {"mirrored": dataset.horizontal_flips}

    def encoding_gpus(self, wildcards: Wildcards) -> int:
        """Return the GPUs for a large published autoencoder; none for one made here."""
        name = self.config.dataset(wildcards.dataset).source.autoencoder
        published = self.config.scale is None and name in self.published_autoencoders
        return self.config.autoencoders[name].gpus if published else 0

    # Features.

    def extractors(self, wildcards: Wildcards) -> list[str]:
        """Return the feature extractor asked for, or else those of the dataset."""
        asked = getattr(wildcards, "extractor", None)
        return self.config.dataset(wildcards.dataset).features if asked is None else [asked]

    def references(self, wildcards: Wildcards) -> list[str]:
        """Return the files of the real images' features, by extractor and part."""
        dataset, names = wildcards.dataset, self.extractors(wildcards)
        return [
            self._features(dataset, part, f"{name}.npz")
            for name in names
            for part in self.config.parts(dataset)
        ]

    def training_reference(self, wildcards: Wildcards) -> str:
        """Return the file of the training images' features."""
        return self._features(wildcards.dataset, "training", f"{wildcards.extractor}.npz")

    def parts(self, wildcards: Wildcards) -> list[str]:
        """Return the parts of a dataset's images."""
        return [*self.config.parts(wildcards.dataset)]

    def _features(self, dataset: str, part: Part, name: str) -> str:
        return f"{self.results}/features/{self.config.pixels(dataset)}/{part}/{name}"

    def weights(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the inputs that are weights of extractors: a classifier's, Inception's."""
        return self._weights(wildcards.dataset, self.extractors(wildcards))

    def _weights(self, dataset: str, extractors: list[str]) -> dict[str, str]:
        kinds = {EXTRACTORS[name].weights for name in extractors}
        found = {}
        if "classifier" in kinds:
            found["classifier"] = f"{self.results}/classifiers/{self.config.pixels(dataset)}"
        if kinds - {"classifier"}:
            found["inception"] = self.inception
        return found

    def classifier_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the settings of the classifier of a dataset's images."""
        return self.config.classifiers[self.config.pixels(wildcards.dataset)].plain()

    def extractor_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return what `dansm.metrics.extractors.make_extractor` takes beside names and files."""
        weights, settings = self.weights(wildcards), {}
        if "classifier" in weights:
            settings["classifier"] = self.classifier_settings(wildcards)
        if "inception" in weights:
            settings["inception_weights"] = f"{self.results}/inception"
        if self.config.inception_sha256 != INCEPTION_SHA256:
            settings["inception_sha256"] = self.config.inception_sha256
        return settings

    def extractor_threads(self, wildcards: Wildcards) -> int:
        """Return more threads for extractors whose features make large matrices."""
        return 4 if EXTRACTORS[wildcards.extractor].large else 1

    def extractor_gpus(self, wildcards: Wildcards) -> int:
        """Return a GPU for these."""
        return int(EXTRACTORS[wildcards.extractor].large)


def _is_unpacked(file: PublishedFile) -> bool:
    return os.path.exists(file.unpacked) and not os.path.exists(file.path)
