"""Rows that a change of many actions has read or made, so that it need not ask for each of them again and again.

While such a change is under way the configuration is locked, so nobody else changes these rows. Whatever it changes in
them itself, but for their versions, makes it forget all of them: other rows may have the former state at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from django.db import models

Row = TypeVar("Row", bound=models.Model)
Fact = TypeVar("Fact")
_VERSION: Final = frozenset({"version", "updated_at"})


class Known:
    """The rows by their keys and names."""

    def __init__(self) -> None:
        self._rows: dict[tuple[type[models.Model], int], Any] = {}
        self._names: dict[tuple[type[models.Model], str], Any] = {}
        self._taken: dict[type[models.Model], dict[str, tuple[int, str]]] = {}
        self._facts: dict[str, Any] = {}

    def add(self, row: Any) -> None:
        """A row as the database has it."""
        self._rows[type(row), row.pk] = row
        self._names[type(row), row.name.lower()] = row

    def named(self, model: type[Row], name: str) -> Row | None:
        """The row of that name, whatever its case."""
        found: Row | None = self._names.get((model, name.lower()))
        return found

    def made(self, row: models.Model) -> None:
        """A row that was not there before."""
        if type(row) in self._taken:
            name: str = row.name  # type: ignore[attr-defined]  # only such have taken names
            self._taken[type(row)][name.lower()] = row.pk, name

    def taken(self, model: type[models.Model], name: str, besides: int | None) -> str | None:
        """How a row of that name spells it, whatever the case, if it is not the row ``besides``."""
        if model not in self._taken:
            rows = model._default_manager.order_by().values_list("pk", "name")
            self._taken[model] = {spelled.lower(): (pk, spelled) for pk, spelled in rows}
        pk, spelled = self._taken[model].get(name.lower(), (None, None))
        return None if pk == besides else spelled

    def once(self, what: str, ask: Callable[[], Fact]) -> Fact:
        """What ``ask`` found when it was asked first: of what is no configuration, and may change meanwhile."""
        if what not in self._facts:
            self._facts[what] = ask()
        found: Fact = self._facts[what]
        return found

    def has(self, row: models.Model) -> bool:
        """Whether it is this very row, and no older copy of it."""
        return row.pk is not None and self._rows.get((type(row), row.pk)) is row

    def changes(self, row: models.Model, fields: frozenset[str] | None) -> None:
        """A row is about to be saved, or deleted (``fields`` is empty or None: all of it)."""
        if not self.has(row) or not fields or not fields <= _VERSION:
            self.forget()

    def forget(self) -> None:
        """Nothing is known any more."""
        self._rows.clear()
        self._names.clear()
        self._taken.clear()


_current: ContextVar[Known | None] = ContextVar("known", default=None)


def current() -> Known | None:
    """What is known in the change under way; None outside of one."""
    return _current.get()


@contextmanager
def remembered() -> Iterator[Known]:
    """Inside, rows are remembered."""
    found = Known()
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


def related(row: models.Model) -> set[str]:
    """Names of the foreign keys of ``row`` to rows that are known, and so are there."""
    known = _current.get()
    if known is None:
        return set()
    return {
        one.name
        for one in row._meta.concrete_fields
        if isinstance(one, models.ForeignKey)
        and one.is_cached(row)
        and (other := one.get_cached_value(row))
        and known.has(other)
    }
