"""Bodies of changes: PUT replaces an object and has every field, PATCH has those that change (RFC 7396).

Both follow from the body that makes an object, where a field that is left out has its default. In a PUT such a field
would go back to its default although the client never named it.
"""

import types
from collections.abc import Callable
from copy import copy
from typing import Annotated, Any, Optional, TypeVar, Union, get_args, get_origin

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError, create_model
from pydantic_core import PydanticUndefined, to_jsonable_python

from parkmesh.server.web.fields import Body

B = TypeVar("B", bound=Body)
PATCH_TYPE = "application/merge-patch+json"


def whole(model: type[B], name: str) -> type[B]:
    """Return a body like ``model`` in which every field is required, also within its objects and lists."""
    fields: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        required = copy(info)
        required.default, required.default_factory = PydanticUndefined, None
        required.annotation = _replaced(info.annotation, _whole, _whole)
        fields[field] = (required.annotation, required)
    return create_model(name, __base__=model, __doc__=model.__doc__, **fields)


def part(model: type[Body], name: str) -> type[Body]:
    """Return a body with any of ``model``'s fields: those that are left out stay as they are. Within a list there are
    whole objects."""
    fields: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        optional = copy(info)
        optional.default, optional.default_factory = None, None
        inner = _replaced(info.annotation, _part, _whole)
        annotation: Any = Optional[inner]  # noqa: UP045 - made at run time
        optional.annotation = annotation
        fields[field] = (annotation, optional)
    return create_model(name, __base__=Body, __doc__="The fields that change.", **fields)


def _whole(model: type[Body]) -> type[Body]:
    return whole(model, f"Whole{model.__name__}")


def _part(model: type[Body]) -> type[Body]:
    return part(model, f"{model.__name__}Change")


Make = Callable[[type[Body]], type[Body]]


def _replaced(annotation: Any, single: Make, listed: Make) -> Any:
    """Return an annotation with the bodies in it replaced, those within lists by ``listed``."""
    if isinstance(annotation, type) and issubclass(annotation, Body):
        return single(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return Union[tuple(_replaced(item, single, listed) for item in arguments)]  # noqa: UP007
    if origin is Annotated:
        return Annotated[(_replaced(arguments[0], single, listed), *arguments[1:])]
    if origin is list:
        return list[_replaced(arguments[0], listed, listed)]  # type: ignore[misc]  # made at run time
    return annotation


def merged(model: type[B], present: object, change: BaseModel) -> B:
    """Return the body that replaces ``present`` with the fields of ``change`` put in.

    Raises ``RequestValidationError`` (422) where the whole is none, such as a field set to null that can't be.
    """
    fields = {info.alias or name for name, info in model.model_fields.items()}
    known = {name: value for name, value in to_jsonable_python(present, by_alias=True).items() if name in fields}
    try:
        return model.model_validate(_merge(known, change.model_dump(exclude_unset=True, by_alias=True, mode="json")))
    except ValidationError as error:
        errors = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None


def _merge(target: Any, patch: Any) -> Any:
    """Apply a merge patch: RFC 7396, section 2. A null removes a member; the field then is null where it may be."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        result[name] = None if value is None else _merge(result.get(name), value)
    return result
