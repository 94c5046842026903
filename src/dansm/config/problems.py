"""What is said of a value that does not fit its model."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from dansm.config.base import Model, shown


def describe(error: ValidationError, model: type[Model]) -> Iterator[tuple[str, str]]:
    """Yield each wrong key, with lines that name it, what was expected and what was found."""
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        for line in _message(problem, model).split("\n"):
            # Lines about parts of a key name it themselves.
            yield key, f"{key}: {line}" if key and not line.startswith(f"{key}[") else line


def _message(problem: Any, model: type[Model]) -> str:
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        known: Any = model
        for part in problem["loc"][:-1]:
            known = _bare(_inside(known, part))
        keys = [field.alias or name for name, field in known.model_fields.items()]
        return f"unknown key (value {shown(problem['input'])}); expected one of {sorted(keys)}"
    if problem["type"] == "missing":
        return problem["msg"]
    return f"{problem['msg']}, found {shown(problem['input'])}"


def _bare(annotation: Any) -> Any:
    """Return an annotation without what it is annotated with, and without None if it may be."""
    origin, kinds = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bare(kinds[0])
    if origin in (Union, UnionType):
        kinds = [kind for kind in kinds if kind is not NoneType]
        if len(kinds) == 1:
            return _bare(kinds[0])
    return annotation


def _inside(annotation: Any, part: int | str) -> Any:
    """Return the annotation of a part of a bare one: of a key, an index or a union's tag."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation.model_fields[str(part)].annotation
    origin, kinds = get_origin(annotation), get_args(annotation)
    if origin in (list, dict):
        return kinds[-1]
    if origin in (Union, UnionType):
        tags = {
            tag: kind
            for kind in kinds
            if kind is not NoneType
            for tag in get_args(kind.model_fields["kind"].annotation)
        }
        return tags[part]
    raise TypeError(f"no parts of {annotation} are known")
