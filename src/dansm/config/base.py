"""Types that all configuration models share, among them names and picks of the catalogue."""

import dataclasses
import json
import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictInt,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from dansm.catalogue import COUPLINGS, LOSSES, PROCESSES, SOLVERS, TIMES, Entry, Options, Pick


class Model(BaseModel):
    """Base of all configuration models: unknown keys are errors, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def plain(self) -> dict[str, Any]:
        """Return the values as JSON has them, without those that equal their defaults.

        What a result depends on is told by these, so that a field added later, with a default,
        changes nothing that was made before.
        """
        return self.model_dump(mode="json", exclude_defaults=True)


_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxdict, _REPR.maxlist, _REPR.maxstring = 3, 8, 12, 120


def shown(value: Any) -> str:
    """Return a value as messages show it: cut short, since a user's file may hold anything."""
    return _REPR.repr(value)


def distinct(values: list[Any]) -> list[Any]:
    """Return a list that holds nothing twice."""
    if len(set(values)) != len(values):
        raise ValueError(f"expected each once, found {shown(values)}")
    return values


def _ascending(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError(f"expected distinct numbers in ascending order, found {shown(values)}")
    return values


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, found {value}")
    return value


def _expanded(path: str) -> str:
    """Return a path or address with its ``~`` and ``$NAME`` replaced."""
    scheme, path = ("file:", path[5:]) if path.startswith("file:") else ("", path)
    if not path or "\0" in path:
        raise ValueError(f"expected a path or an address, found {scheme + path!r}")
    full = os.path.expanduser(os.path.expandvars(path))
    if full.startswith("~") or "$" in full:
        raise ValueError(f"expected a home folder and variables that are set, found {path!r}")
    return scheme + full


def _as_path(path: Any) -> Path:
    if not isinstance(path, str | Path):
        raise ValueError(f"expected a path, found {shown(path)}")
    return Path(_expanded(str(path)))


# What nobody has so much of.
_MOST = 10**12
Count = Annotated[StrictInt, Field(ge=1, le=_MOST)]
AtLeast2 = Annotated[StrictInt, Field(ge=2, le=_MOST)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(distinct)]
MatchSize = Annotated[StrictInt, Field(ge=0, le=_MOST)]
Number = Annotated[float, BeforeValidator(_no_truth_value), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
LearningRate = Annotated[Positive, Field(le=100)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
Names = Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)]
Counts = Annotated[list[Count], AfterValidator(distinct)]
Shape = tuple[Count, Count, Count]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Ascending = Annotated[list[Count], Field(min_length=1), AfterValidator(_ascending)]
AscendingFrom2 = Annotated[list[AtLeast2], Field(min_length=1), AfterValidator(_ascending)]
Expanded = Annotated[str, AfterValidator(_expanded)]
Folder = Annotated[Path, BeforeValidator(_as_path)]


def _check_known(kind: str, name: Any, known: Iterable[str]) -> None:
    if name not in known:
        raise ValueError(f"unknown {kind} {shown(name)}; expected one of {sorted(known)}")


def name_of(kind: str, known: Iterable[str]) -> Any:
    """Return the type of a field that is the name of an entry."""
    names = list(known)

    def validate(name: str) -> str:
        _check_known(kind, name, names)
        return name

    return Annotated[str, AfterValidator(validate), Field(json_schema_extra={"enum": names})]


def pick_of(kind: str, known: Mapping[str, Entry]) -> Any:
    """Return the type of a field that picks an entry: a name, or ``{name: {options}}``."""

    def validate(value: Any) -> Pick:
        if isinstance(value, Pick):
            value = value.plain
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError(
                f"expected the name of a {kind}, or {{name: {{options}}}}, found {shown(value)}"
            )
        ((name, options),) = value.items()
        _check_known(kind, name, known)
        return Pick(name, _checked_options(known[name], {} if options is None else options))

    schemas = {name: _adapter(entry.options).json_schema() for name, entry in known.items()}
    names = [name for name, schema in schemas.items() if not schema.get("required")]
    alternatives = [{"enum": names}] + [
        {
            "type": "object",
            "properties": {name: schema},
            "required": [name],
            "additionalProperties": False,
        }
        for name, schema in schemas.items()
        if schema.get("properties")
    ]
    return Annotated[
        Pick,
        PlainValidator(validate),
        PlainSerializer(lambda pick: pick.plain),
        WithJsonSchema({"anyOf": alternatives}),
    ]


@cache
def _adapter(options: type[Options]) -> TypeAdapter:
    return TypeAdapter(options)


def _checked_options(entry: Entry, options: Any) -> dict[str, Any]:
    """Return an entry's options but for those that equal their defaults."""
    try:
        # As JSON, since strict dataclasses take nothing but themselves from Python.
        text = json.dumps(options, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(
            f"{entry.name}: expected plain values and finite numbers, found {shown(options)}"
        ) from None
    try:
        checked = _adapter(entry.options).validate_json(text)
    except ValidationError as error:
        raise ValueError("\n".join(_option_problems(entry, error))) from None
    return {
        field.name: getattr(checked, field.name)
        for field in dataclasses.fields(entry.options)
        if getattr(checked, field.name) != field.default
    }


def _option_problems(entry: Entry, error: ValidationError) -> Iterator[str]:
    known = sorted(field.name for field in dataclasses.fields(entry.options))
    for problem in error.errors(include_url=False):
        key = ".".join([entry.name, *map(str, problem["loc"])])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "unexpected_keyword_argument":
            yield f"{key}: unknown option; " + (
                f"expected one of {known}" if known else "it has none"
            )
        elif problem["type"] in ("value_error", "missing", "missing_argument"):
            yield f"{key}: {message}"
        else:
            yield f"{key}: {message}, found {shown(problem['input'])}"


ProcessPick = pick_of("process", PROCESSES)
CouplingPick = pick_of(
    "coupling", {name: entry for name, entry in COUPLINGS.items() if entry.configurable}
)
TimesPick = pick_of("time distribution", TIMES)
LossPick = pick_of("loss", LOSSES)
SolverPick = pick_of("solver", SOLVERS)
