"""Objects of large tables, made from their columns at a third of the cost of a query set's own.

They are what ``Model.from_db`` makes, but for the signals ``pre_init`` and ``post_init``, which nobody listens to here
(a test compares the two). Parents that were read already are put in their place without another look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from django.db.models import ForeignKey, Model, QuerySet
from django.db.models.base import ModelState

Row = TypeVar("Row", bound=Model)


def objects(
    rows: QuerySet[Row], parents: Mapping[str, Mapping[int, Model]] | None = None, joined: str = ""
) -> Iterator[Row]:
    """The objects of a query, in its order; one query.

    ``parents``: by the name of a foreign key, the objects that it may lead to; a row whose parent is not among them
    was made or lost its parent meanwhile, and is left out. ``joined``: the name of a foreign key whose object is read
    with the row. Raises django.db.Error.
    """
    model = rows.model
    own = _columns(model)
    lead = [(own.index(_attribute(model, name)), name, found) for name, found in (parents or {}).items()]
    other, far = _joined(model, joined)
    count, make = len(own), model.__new__
    database = rows.db
    for values in rows.values_list(*own, *(f"{joined}__{name}" for name in far)).iterator(chunk_size=2000):
        linked: dict[str, Any] = {}
        for place, name, found in lead:
            parent = found.get(values[place])
            if parent is None:
                break
            linked[name] = parent
        else:
            if other is not None:
                linked[joined] = _filled(other.__new__(other), far, values[count:], database, {})
            yield _filled(make(model), own, values, database, linked)


def _columns(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def _attribute(model: type[Model], name: str) -> str:
    field = model._meta.get_field(name)
    assert isinstance(field, ForeignKey), name  # noqa: S101 - a fault of this program
    return field.attname


def _joined(model: type[Model], name: str) -> tuple[type[Model] | None, list[str]]:
    if not name:
        return None, []
    other = model._meta.get_field(name).related_model
    assert isinstance(other, type), name  # noqa: S101 - a fault of this program
    return other, _columns(other)


def _filled(row: Any, names: list[str], values: Any, database: str, linked: dict[str, Any]) -> Any:
    state = ModelState()
    state.db, state.adding = database, False
    state.fields_cache = linked
    row.__dict__ = dict(zip(names, values, strict=False))
    row.__dict__["_state"] = state
    return row
