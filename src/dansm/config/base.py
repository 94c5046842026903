"""Types that all configuration models share, among them picks of the catalogue."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
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


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError(f"expected each once, found {values}")
    return values


def _ascending(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError(f"expected distinct numbers in ascending order, found {values}")
    return values


Count = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
MatchSize = Annotated[StrictInt, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)]
Shape = tuple[Count, Count, Count]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Ascending = Annotated[list[Count], Field(min_length=1), AfterValidator(_ascending)]


def _pick_of(kind: str, catalogue: Mapping[str, Entry]) -> Any:
    """Return the type of a field that names an entry: a name, or ``{name: {options}}``."""
    names = [name for name, entry in catalogue.items() if getattr(entry, "configurable", True)]

    def validate(value: Any) -> Pick:
        if isinstance(value, Pick):
            value = value.plain
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError(f"expected the name of a {kind}, or {{name: {{options}}}}")
        ((name, options),) = value.items()
        if name not in names:
            raise ValueError(f"unknown {kind} {name!r}; expected one of {sorted(names)}")
        return Pick(name, _checked_options(catalogue[name], {} if options is None else options))

    schema = {
        "anyOf": [
            {"enum": names},
            *(
                {"type": "object", "properties": {name: _options_of(entry).json_schema()}}
                for name, entry in catalogue.items()
                if name in names and dataclasses.fields(entry.options)
            ),
        ]
    }
    return Annotated[
        Pick,
        PlainValidator(validate),
        PlainSerializer(lambda pick: pick.plain),
        WithJsonSchema(schema),
    ]


@cache
def _adapter(options: type[Options]) -> TypeAdapter:
    return TypeAdapter(options)


def _options_of(entry: Entry) -> TypeAdapter:
    return _adapter(entry.options)


def _checked_options(entry: Entry, options: Any) -> dict[str, Any]:
    """Return an entry's options but for those that equal their defaults."""
    try:
        # As JSON, since strict dataclasses take nothing but themselves from Python.
        checked = _options_of(entry).validate_json(json.dumps(options))
    except ValidationError as error:
        raise ValueError("; ".join(_option_problems(entry, error.errors()))) from None
    return {
        field.name: getattr(checked, field.name)
        for field in dataclasses.fields(entry.options)
        if getattr(checked, field.name) != field.default
    }


def _option_problems(entry: Entry, problems: Iterable[Any]) -> Iterable[str]:
    known = sorted(field.name for field in dataclasses.fields(entry.options))
    for problem in problems:
        key = ".".join([entry.name, *map(str, problem["loc"])])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "unexpected_keyword_argument":
            yield f"{key}: unknown option; expected one of {known}"
        elif problem["type"] in ("value_error", "missing", "missing_argument"):
            yield f"{key}: {message}"
        else:
            yield f"{key}: {message}, found {problem['input']!r}"


ProcessPick = _pick_of("process", PROCESSES)
CouplingPick = _pick_of("coupling", COUPLINGS)
TimesPick = _pick_of("time distribution", TIMES)
LossPick = _pick_of("loss", LOSSES)
SolverPick = _pick_of("solver", SOLVERS)
