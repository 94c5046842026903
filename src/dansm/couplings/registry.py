"""What can be named: entries with a title, options and traits, and the couplings among them.

This module needs nothing but the standard library, so that names are known without PyTorch; an
entry's implementation is imported when it is asked for.
"""

import dataclasses
import importlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar


@dataclass(frozen=True)
class Options:
    """Options of an entry; subclasses declare them as fields and check them in `__post_init__`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class Pick:
    """An entry that was chosen by its name, with options.

    Attributes
    ----------
    name
        Of an entry.
    options
        Those that differ from the entry's defaults.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def plain(self) -> str | dict[str, dict[str, Any]]:
        """The pick as the configuration writes it: a name, or ``{name: options}``."""
        return {self.name: dict(self.options)} if self.options else self.name

    @property
    def text(self) -> str:
        """The pick as tables write it: ``u_shaped(a=4)``."""
        return f"{self.name}({options_text(self.options)})" if self.options else self.name

    @property
    def slug(self) -> str:
        """The pick as file names write it: ``semidiscrete-covariance``."""
        return "-".join([self.name, *(str(self.options[key]) for key in sorted(self.options))])


def options_text(options: Mapping[str, Any]) -> str:
    """Write options as tables do: ``a=4, b=c``, sorted; without any, nothing."""
    return ", ".join(f"{key}={options[key]}" for key in sorted(options))


@dataclass(frozen=True)
class Entry:
    """One thing that can be named.

    Attributes
    ----------
    name
        As the configuration and tables write it.
    implementation
        ``module:attribute``, imported by `load`.
    title
        As figures write it. Options may stand in it as in a format string; those that do not, and
        differ from their defaults, follow it.
    summary
        One line for documentation.
    options
        What it can be told.
    """

    name: str
    implementation: str
    title: str
    summary: str
    options: type[Options] = Options

    def load(self) -> Any:
        """Import and return the implementation."""
        module, _, attribute = self.implementation.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def label(self, options: Mapping[str, Any] = MappingProxyType({})) -> str:
        """Return the title with options, for legends and rows of tables."""
        known = {f.name: f.default for f in dataclasses.fields(self.options)} | dict(options)
        rest = [
            value.replace("_", " ")
            if isinstance(value, str)
            else key.replace("_", " ") + ("" if value is True else f" {value}")
            for key, value in sorted(options.items())
            if f"{{{key}" not in self.title
        ]
        return ", ".join([self.title.format(**known), *rest])


_E = TypeVar("_E", bound=Entry)


def by_name(entries: Iterable[_E]) -> Mapping[str, _E]:
    """Return entries by their names."""
    return MappingProxyType({entry.name: entry for entry in entries})


@dataclass(frozen=True)
class CouplingEntry(Entry):
    """A coupling, with what it promises of the noise and needs of the dataset.

    Attributes
    ----------
    noise
        What is said of the noise, in words.
    gaussian
        Over what the noise is exactly Gaussian: each batch, pool or set, a fixed set, or nothing.
    not_gaussian_with
        Options with which the noise is not Gaussian over anything.
    needs
        Arguments of the implementation that describe the dataset: ``count``, ``shape``,
        ``samples``, ``potentials``, ``noise``.
    fixed_samples
        Whether it pairs noises with the stored samples themselves, which it picks or remembers a
        noise for, so that these cannot be augmented on the way.
    configurable
        Whether a run can name it; otherwise it is for loops of one's own.
    """

    noise: str = ""
    gaussian: Literal["batch", "pool", "set", "fixed set", "none"] = "batch"
    not_gaussian_with: Mapping[str, Any] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    fixed_samples: bool = False
    configurable: bool = True

    def gaussian_over(self, options: Mapping[str, Any]) -> str:
        """Return over what the noise is exactly Gaussian with these options."""
        spoilt = self.not_gaussian_with.items() & options.items()
        return "none" if spoilt else self.gaussian


@dataclass(frozen=True)
class Sized(Options):
    """A number of noises or samples."""

    match_size: int

    def __post_init__(self) -> None:
        if self.match_size < 2:
            raise ValueError(
                f"match_size: expected at least 2, found {self.match_size}; without matching, the "
                "coupling is independent"
            )


@dataclass(frozen=True)
class ImmiscibleOptions(Options):
    """Whether the assignment is made in half precision, as published."""

    quantized: bool = False


@dataclass(frozen=True)
class MinibatchOptions(Options):
    """The plan, and the regularisation of Sinkhorn's."""

    method: Literal["exact", "sinkhorn"] = "exact"
    regularisation: float | None = None

    def __post_init__(self) -> None:
        if self.method not in ("exact", "sinkhorn"):
            raise ValueError(f"method {self.method!r}: minibatch_ot takes 'exact' or 'sinkhorn'")
        given = self.regularisation
        if self.method == "exact" and given is not None:
            raise ValueError(f"regularisation {given}: only method sinkhorn takes one")
        if given is not None and not 0 < given < math.inf:
            raise ValueError(f"regularisation {given}: expected a finite number above 0")


@dataclass(frozen=True)
class SemidiscreteOptions(Options):
    """In which metric noises and samples are compared."""

    metric: Literal["euclidean", "covariance"] = "euclidean"


@dataclass(frozen=True)
class LoomOptions(Options):
    """How many noises are stored for each sample."""

    stored: int = 1

    def __post_init__(self) -> None:
        if self.stored < 1:
            raise ValueError(f"stored: expected at least 1, found {self.stored}")


@dataclass(frozen=True)
class TeacherOptions(Options):
    """Which run makes the pairs, how, and how many; ``states`` times between are kept too.

    ``inverted`` are images of the dataset, paired with the noises that lead to them, beside the
    ``count`` generated ones; with ``slerp`` above 0 their noises move up to so far, as a share of
    the angle, towards fresh ones. Over the first ``annealed`` images of training, noises turn from
    fresh ones into the pairs' own.
    """

    teacher: str
    sampler: str
    count: int
    steps: int = 0
    states: int = 0
    inverted: int = 0
    slerp: float = 0.0
    annealed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.slerp < 1 or (self.slerp and not self.inverted):
            raise ValueError(
                f"slerp: expected 0 to 1 and images that are inverted, found {self.slerp} and "
                f"{self.inverted}"
            )
        if self.inverted and self.states:
            raise ValueError("states: expected none of pairs that are inverted")
        least_of = {"count": 1, "steps": 0, "states": 0, "inverted": 0, "annealed": 0}
        for key, least in least_of.items():
            if getattr(self, key) < least:
                raise ValueError(f"{key}: expected at least {least}, found {getattr(self, key)}")


COUPLINGS: Mapping[str, CouplingEntry] = by_name(
    [
        CouplingEntry(
            "independent",
            "dansm.couplings.independent:Independent",
            "Vanilla",
            "everyone with a fresh noise (vanilla)",
            noise="Gaussian",
        ),
        CouplingEntry(
            "greedy",
            "dansm.couplings.greedy:Greedy",
            "Match size {match_size:,}",
            "each sample in turn with the nearest noise left in a pool (DANSM)",
            Sized,
            noise="Gaussian over a pool",
            gaussian="pool",
        ),
        CouplingEntry(
            "hungarian",
            "dansm.couplings.hungarian:Hungarian",
            "Hungarian, {match_size:,}",
            "optimal assignment over `match_size` buffered samples",
            Sized,
            noise="Gaussian over a set",
            gaussian="set",
        ),
        CouplingEntry(
            "immiscible",
            "dansm.couplings.immiscible:Immiscible",
            "Immiscible",
            "optimal assignment inside the batch (Immiscible Diffusion)",
            ImmiscibleOptions,
            noise="Gaussian in every batch",
        ),
        CouplingEntry(
            "minibatch_ot",
            "dansm.couplings.minibatch_ot:MinibatchOT",
            "Minibatch OT",
            "optimal-transport plan of the batch, exact or Sinkhorn (OT-CFM)",
            MinibatchOptions,
            noise="Gaussian; Sinkhorn draws with replacement",
            not_gaussian_with={"method": "sinkhorn"},
        ),
        CouplingEntry(
            "knn",
            "dansm.couplings.knn:Knn",
            "Best of {match_size:,}",
            "each sample with the nearest of its own k noises (best of k)",
            Sized,
            noise="not Gaussian",
            gaussian="none",
        ),
        CouplingEntry(
            "semidiscrete",
            "dansm.couplings.semidiscrete:Semidiscrete",
            "Semidiscrete",
            'each fresh noise with a sample, by fitted potentials; with `metric="covariance"` '
            "(ours) by x·Cz, C the data's covariance",
            SemidiscreteOptions,
            noise="Gaussian in every batch",
            needs=frozenset({"samples", "potentials"}),
            fixed_samples=True,
        ),
        CouplingEntry(
            "loom",
            "dansm.couplings.loom:Loom",
            "LOOM",
            "stored noises, reassigned batch by batch (LOOM-CFM)",
            LoomOptions,
            noise="a fixed set of Gaussian noises",
            gaussian="fixed set",
            needs=frozenset({"count", "shape"}),
            fixed_samples=True,
        ),
        CouplingEntry(
            "teacher_pairs",
            "dansm.couplings.paired:Paired",
            "Pairs of {teacher}",
            "each sample that a teacher generated with the noise it began with (reflow)",
            TeacherOptions,
            noise="a fixed set of Gaussian noises",
            gaussian="fixed set",
            needs=frozenset({"samples", "noise"}),
            fixed_samples=True,
        ),
        CouplingEntry(
            "paired",
            "dansm.couplings.paired:Paired",
            "Given pairs",
            "pairs that are given (library only)",
            noise="as given",
            gaussian="none",
            needs=frozenset({"samples", "noise"}),
            fixed_samples=True,
            configurable=False,
        ),
    ]
)
"""Every coupling by the name that `dansm.couplings.make_coupling` and the configuration use."""
