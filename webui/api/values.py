"""Rows as answers, and what requests say about versions and pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from django.db import models, transaction
from django.http import HttpRequest, HttpResponse

from webui.actions.base import INSTALLATION, lock_installation
from webui.actions.errors import unfit
from webui.actions.values import fields_of
from webui.api.fields import CURSOR
from webui.api.problems import PreconditionError
from webui.models import Installation, Service, VServer
from webui.models.sealed import SealedField, names_of

MOST_ROWS: Final = 250
T = TypeVar("T")
# What answers tell beyond an object's own fields, by the names that schemas.ALSO describes.
_ALSO: Final[Mapping[type[models.Model], Mapping[str, Callable[[Any], Any]]]] = {
    VServer: {"service_groups": lambda row: [one.group.name for one in row.group_bindings.all()]},
    Service: {"service_group": lambda row: row.membership.group.name if hasattr(row, "membership") else None},
}
_JOINED: Final[Mapping[type[models.Model], tuple[str, ...]]] = {Service: ("membership__group",)}
_FETCHED: Final[Mapping[type[models.Model], tuple[str, ...]]] = {VServer: ("group_bindings__group",)}


def joined(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Rows with all that :func:`as_answer` looks at, so that a list takes no query for each."""
    model = rows.model
    related = [one.name for one in model._meta.concrete_fields if one.is_relation]
    return rows.select_related(*related, *_JOINED.get(model, ())).prefetch_related(*_FETCHED.get(model, ()))


def as_answer(row: models.Model) -> dict[str, Any]:
    """The configuration of an object; others by their names, of secrets the names alone."""
    found: dict[str, Any] = {}
    if not isinstance(row, Installation):
        found = {name: getattr(row, name) for name in ("id", "version", "created_at", "updated_at")}
    for name, one in fields_of(type(row)).items():
        value = getattr(row, name)
        if isinstance(one, SealedField):
            found["secrets_set"] = sorted(names_of(value))
        elif one.is_relation:
            found[name] = value.name if value is not None else None
        else:
            found[name] = value
    for name, read in _ALSO.get(type(row), {}).items():
        found[name] = read(row)
    return found


def etag_of(row: Any) -> str:
    """Strong: the same version has the same configuration (RFC 9110, section 8.8.3)."""
    return f'"{row.version}"' if not isinstance(row, Installation) else f'"r{row.revision}"'


def wanted(request: HttpRequest, row: Any) -> int | None:
    """The version that If-Match names, to be compared under the lock; None without the header or for ``*``.

    Raises PreconditionError when it names another, or what is no version.
    """
    given = request.headers.get("If-Match", "").strip()
    if not given or given == "*":
        return None
    if etag_of(row) not in [one.strip() for one in given.split(",")]:
        msg = f"If-Match: {given[:80]} is not the current version, which is {etag_of(row)}: read it again."
        raise PreconditionError(msg)
    return None if isinstance(row, Installation) else int(row.version)


def unless_changed(request: HttpRequest, row: Any, action: Callable[[], T]) -> T:
    """Run an action that takes no version, if the row still is the one that If-Match names."""
    version = wanted(request, row)
    if version is None:
        return action()
    with transaction.atomic():
        lock_installation()
        fresh = type(row)._default_manager.filter(pk=row.pk).first()
        if fresh is not None:
            wanted(request, fresh)
        return action()


def is_known(request: HttpRequest, row: Any) -> bool:
    """Whether If-None-Match names the current version, so that there is nothing to send (RFC 9110, section 13.1.2)."""
    given = [one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")]
    return "*" in given or etag_of(row) in given


def tagged(response: HttpResponse, row: Any) -> None:
    """Give the answer its ETag."""
    response.headers["ETag"] = etag_of(row)


def cursor_of(pk: int) -> str:
    """Where a page ended; not to be made by whoever gets it."""
    return f"after-{pk}"


def after(cursor: str) -> int:
    """The key after which a page begins. Raises ValidationError for what is no cursor of ours."""
    if not re.fullmatch(CURSOR, cursor):
        raise unfit({"cursor": f"“{cursor[:40]}” is no cursor: send the “next” of the page before."})
    return int(cursor.removeprefix("after-") or 0)


def settings_row() -> Installation:
    """The installation's own row."""
    return Installation.objects.get_or_create(pk=INSTALLATION)[0]
