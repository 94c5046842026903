"""Reduced scales: the same configuration with less of everything."""

from collections import defaultdict
from math import gcd
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from dansm.catalogue import EXTRACTORS, Pick
from dansm.config.base import Count, Model, distinct
from dansm.config.datasets import (
    Classifier,
    Dataset,
    PotentialsFit,
    TrainedAutoencoder,
)
from dansm.config.measurements import (
    BestOfK,
    CouplingMarginals,
    MatchingCost,
    MatchingShare,
    NoiseSamplePairs,
    Pipeline,
    Straightness,
)
from dansm.config.runs import Network, Recipe, Run, Sampling
from dansm.config.searches import GridSearch

if TYPE_CHECKING:
    from dansm.config.configuration import Config


class Scale(Model):
    """Upper bounds that shrink every run; results go to a folder apart."""

    batch_size: Count
    batches: Count
    channels: Count
    layers_per_block: Count
    snapshots: Count
    n_samples: Count
    image_sets: Count
    images: Count
    draws: Count
    pairs: Count
    epochs: Count
    seeds: Count
    steps: Annotated[list[Count], Field(min_length=1), AfterValidator(distinct)] | None = Field(
        default=None,
        description="The only numbers of steps that are sampled, where a plan has one of them; "
        "none: all that it has",
    )

    @property
    def budget(self) -> int:
        """Images of `batches` batches."""
        return self.batch_size * self.batches


# By model, its numbers, or lists of numbers, and what of the scale each is at most.
BOUNDS: dict[type[Model], dict[str, str]] = {
    TrainedAutoencoder: {"batch_size": "batch_size", "budget_images": "budget"},
    Classifier: {"epochs": "epochs"},
    PotentialsFit: {"steps": "batches"},
    Network: {"layers_per_block": "layers_per_block"},
    Recipe: {"batch_size": "batch_size", "budget_images": "budget"},
    Sampling: {"n_samples": "n_samples", "image_sets": "image_sets"},
    Run: {"budget_images": "budget", "n_samples": "n_samples"},
    Pipeline: {"steps": "batches"},
    NoiseSamplePairs: {
        "draws": "draws",
        "embeddings": "draws",
        "time_bins": "batches",
        "match_sizes": "images",
    },
    BestOfK: {"draws": "images", "dimensions": "images", "counts": "images"},
    CouplingMarginals: {"batch_size": "batch_size", "count": "budget"},
    MatchingCost: {
        "repetitions": "batches",
        "match_sizes": "images",
        "dimensions": "images",
        "batch_sizes": "batch_size",
    },
    GridSearch: {
        "knots": "batch_size",
        "noises": "images",
        "images": "images",
        "population": "seeds",
        "parents": "seeds",
        "rounds": "seeds",
    },
    Straightness: {
        "batch_sizes": "batch_size",
        "steps": "batches",
        "count": "images",
        "seeds": "seeds",
    },
    MatchingShare: {"rounds": "seeds", "steps": "batches", "match_sizes": "images"},
}


def at_scale(config: "Config") -> "Config":
    """Return a configuration whose every budget is at most what its scale allows."""
    if config.scale is None:
        return config
    scale = config.scales[config.scale]
    # Of every run the seeds that a comparison takes, and with them those of its teachers.
    seeds: dict[str, set[int]] = defaultdict(set)
    for run in config.runs:
        seeds[run.dataset].update(run.seeds[: scale.seeds])
    for comparison in config.all_comparisons.values():
        seeds[comparison.dataset].update(*comparison.seeds.values())
    values = {name: _shrunk(getattr(config, name), scale) for name in type(config).model_fields}
    values["runs"] = [
        run.model_copy(update={"seeds": [s for s in run.seeds if s in seeds[run.dataset]]})
        for run in values["runs"]
    ]
    # Not a copy, which would keep what was worked out at full size.
    return type(config).model_construct(**values)


def _shrunk(value: Any, scale: Scale) -> Any:
    if isinstance(value, dict):
        return {key: _shrunk(item, scale) for key, item in value.items()}
    if isinstance(value, list):
        return [_shrunk(item, scale) for item in value]
    if not isinstance(value, Model):
        return value
    fields = {name: _shrunk(getattr(value, name), scale) for name in type(value).model_fields}
    for name, bound in BOUNDS.get(type(value), {}).items():
        fields[name] = _at_most(fields[name], getattr(scale, bound))
    less = value.model_copy(update=fields)
    return less.model_copy(update=_what_follows(less, scale))


def _at_most(found: Any, most: int) -> Any:
    if isinstance(found, list):
        return sorted({min(number, most) for number in found})
    return None if found is None else min(found, most)


def _what_follows(less: Model, scale: Scale) -> dict[str, Any]:
    """Return what of a model is no plain number, or must go together with those that shrank."""
    match less:
        case Dataset(source=source, features=features):
            if "count" in type(source).model_fields:
                # Where all are taken there may be fewer.
                bound = "at_most" if source.count is None else "count"
                count = min(source.count or scale.images, scale.images)
                source = source.model_copy(update={bound: count})
            held_out = less.held_out
            if held_out is not None and held_out.folder is not None:
                source = source.model_copy(update={"at_most": scale.images})
            if held_out is not None and held_out.beyond is not None:
                fewer = {"beyond": min(held_out.beyond, scale.images)}
                held_out = held_out.model_copy(update=fewer)
            # Inception has random weights then, which is in the name: nothing is taken for a FID.
            standins = [EXTRACTORS[name].standin or name for name in features]
            return {"source": source, "held_out": held_out, "features": standins}
        case PotentialsFit() if less.steps == scale.batches:
            return {"largest_unevenness": None}  # so few steps make nothing even
        case Network():
            channels = [min(c, scale.channels) for c in less.channels]
            return {"channels": channels, "norm_groups": gcd(less.norm_groups, *channels)}
        case Sampling() if scale.steps is not None:
            kept = {
                name: {
                    sampler: few
                    for sampler, steps in getattr(less, name).items()
                    if (few := [number for number in steps if number in scale.steps])
                }
                for name in ("each_snapshot", "final", "final_one_set")
            }
            return kept if kept["final"] else {}
        case Recipe(hardware=hardware):
            # The networks are too small for more than one thread, and for compiling.
            gpu = hardware.gpu and gcd(hardware.gpu, less.batch_size)
            snapshots = min(less.snapshots, scale.snapshots, scale.batches)
            steps = less.model_copy(update={"snapshots": snapshots}).snapshot_steps()
            first = less.first_snapshot
            fits = first is not None and first >= less.batch_size and steps == sorted({*steps})
            return {
                "snapshots": snapshots,
                "first_snapshot": first if fits else None,
                "hardware": hardware.model_copy(update={"threads": 1, "gpu": gpu}),
                "compile": False,
                "mixed_precision": "no",
            }
        case Run():
            options = dict(less.coupling.options)
            if less.teacher is not None:
                for key in {"count", "inverted", "annealed"} & options.keys():
                    options[key] = min(options[key], scale.images)
            most = min(scale.snapshots, scale.batches)
            return {
                "snapshots": _at_most(less.snapshots, most),
                "coupling": Pick(less.coupling.name, options),
            }
        case NoiseSamplePairs():
            count = max(less.pairs, min(less.count, scale.pairs))
            return {
                "count": count,
                "batch_sizes": _at_most(less.batch_sizes, count),
                "embeddings": min(less.embeddings, less.draws * (count // less.pairs)),
            }
    return {}
