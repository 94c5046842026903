"""Reduced scales: the same configuration with less of everything, for plumbing checks."""

from math import gcd
from typing import TYPE_CHECKING, Any

from dansm.catalogue import EXTRACTORS, Pick
from dansm.config.base import Count, Model
from dansm.config.datasets import TrainedAutoencoder
from dansm.config.runs import Network, Recipe, Run

if TYPE_CHECKING:
    from dansm.config.configuration import Config


class Scale(Model):
    """Upper bounds that shrink every run, for plumbing checks; results go to a folder apart."""

    batch_size: Count
    batches: Count
    channels: Count
    layers_per_block: Count
    snapshots: Count
    n_samples: Count
    images: Count
    epochs: Count
    seeds: Count


def at_scale(config: "Config") -> "Config":
    """Return a configuration whose every budget is at most what its scale allows."""
    if config.scale is None:
        return config
    scale = config.scales[config.scale]
    recipes = {name: _recipe(recipe, scale) for name, recipe in config.recipes.items()}
    marginals, cost, share = (
        config.coupling_marginals,
        config.matching_cost,
        config.matching_share,
    )
    batch = min(marginals.batch_size, scale.batch_size)
    return config.model_copy(
        update={
            "datasets": {name: _dataset(d, scale) for name, d in config.datasets.items()},
            "autoencoders": {
                name: _autoencoder(a, scale) for name, a in config.autoencoders.items()
            },
            "classifiers": {
                name: _less(classifier, epochs=scale.epochs)
                for name, classifier in config.classifiers.items()
            },
            "potentials": _less(config.potentials, steps=scale.batches),
            "networks": {name: _network(n, scale) for name, n in config.networks.items()},
            "recipes": recipes,
            "runs": [_run(run, recipes[run.recipe], scale) for run in config.runs],
            "noise_sample_pairs": {
                name: _pairs(pairs, scale) for name, pairs in config.noise_sample_pairs.items()
            },
            "best_of_k": _grid(
                _less(config.best_of_k, draws=scale.images),
                dimensions=scale.images,
                counts=scale.images,
            ),
            "coupling_marginals": _less(marginals, batch_size=batch, count=batch * scale.batches),
            "matching_cost": _grid(
                _less(cost, repetitions=scale.batches),
                match_sizes=scale.images,
                dimensions=scale.images,
                batch_sizes=scale.batch_size,
            ),
            "matching_share": _grid(
                _less(share, rounds=scale.seeds, steps=scale.batches), match_sizes=scale.images
            ),
        }
    )


def _less(model: Any, **most: int) -> Any:
    """Return a model with some of its numbers at most so large."""
    found = {key: getattr(model, key) for key in most}
    update = {
        key: value if value is None else min(value, most[key]) for key, value in found.items()
    }
    return model.model_copy(update=update)


def _grid(model: Any, **most: int) -> Any:
    """Return a model with the numbers in some of its lists at most so large, each once."""
    update = {
        key: sorted({min(value, bound) for value in getattr(model, key)})
        for key, bound in most.items()
    }
    return model.model_copy(update=update)


def _dataset(dataset: Any, scale: Scale) -> Any:
    source = dataset.source
    if "count" in type(source).model_fields:
        count = min(source.count or scale.images, scale.images)
        source = source.model_copy(update={"count": count})
    # Inception has random weights then, which is in the name: nothing is taken for a FID.
    features = [EXTRACTORS[name].standin or name for name in dataset.features]
    return dataset.model_copy(update={"source": source, "features": features})


def _autoencoder(autoencoder: Any, scale: Scale) -> Any:
    if not isinstance(autoencoder, TrainedAutoencoder):
        return autoencoder
    batch = min(autoencoder.batch_size, scale.batch_size)
    return _less(autoencoder, batch_size=batch, budget_images=batch * scale.batches)


def _network(network: Network, scale: Scale) -> Network:
    channels = [min(c, scale.channels) for c in network.channels]
    groups = gcd(network.norm_groups, *channels)
    less = _less(network, layers_per_block=scale.layers_per_block)
    return less.model_copy(update={"channels": channels, "norm_groups": groups})


def _recipe(recipe: Recipe, scale: Scale) -> Recipe:
    batch = min(recipe.batch_size, scale.batch_size)
    budget = min(recipe.budget_images, batch * scale.batches)
    return recipe.model_copy(
        update={
            "batch_size": batch,
            "budget_images": budget,
            "snapshots": min(recipe.snapshots, scale.snapshots, budget // batch),
            "sampling": _less(recipe.sampling, n_samples=scale.n_samples),
            # The networks are too small for more than one thread, and for compiling.
            "hardware": _less(recipe.hardware, threads=1),
            "compile": False,
            "mixed_precision": "no",
        }
    )


def _run(run: Run, recipe: Recipe, scale: Scale) -> Run:
    less = _less(run, budget_images=recipe.batch_size * scale.batches, n_samples=scale.n_samples)
    snapshots = run.snapshots and min(run.snapshots, recipe.snapshots)
    options = dict(run.coupling.options)
    if run.teacher is not None:
        options["count"] = min(options["count"], scale.images)
    return less.model_copy(
        update={
            "seeds": run.seeds[: scale.seeds],
            "snapshots": snapshots,
            "coupling": Pick(run.coupling.name, options),
        }
    )


def _pairs(pairs: Any, scale: Scale) -> Any:
    count = max(pairs.pairs, min(pairs.count, scale.images))
    less = _less(
        pairs, count=count, draws=scale.seeds, embeddings=scale.seeds, time_bins=scale.batches
    )
    return _grid(less, match_sizes=scale.images, batch_sizes=count)
