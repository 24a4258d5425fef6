"""Which rows have a say in the states of a few objects, so that a page of a list need not read all the others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from django.db.models import Q, QuerySet

from webui.backups import chain, primaries
from webui.models import Service, VServer, VServerServiceBinding

LARGEST: Final = 900  # keys in one query; SQLite may be built to take 999


@dataclass(frozen=True)
class Scope:
    """Part of the configuration.

    ``owners`` are vservers whose bindings count, ``vservers`` those and what they back up; ``services`` is a query to
    be used within others; ``backup_of`` has every vserver.
    """

    services: QuerySet[Service]
    vservers: frozenset[int]
    owners: frozenset[int]
    backup_of: dict[int, int | None]


def _backups() -> tuple[dict[int, int | None], frozenset[int]]:
    """Every vserver's backup, and which of them may fail open."""
    rows = list(VServer.objects.order_by().values_list("pk", "backup_vserver", "fail_open"))
    return {pk: backup for pk, backup, _fail_open in rows}, frozenset(pk for pk, _backup, share in rows if share)


def scope_of_services(pks: Collection[int]) -> Scope | None:
    """What the states of these services follow from; None when that is nearly everything. Two queries."""
    backup_of, fail_open = _backups()
    bound = VServerServiceBinding.objects.order_by().filter(service__in=pks).values_list("vserver", flat=True)
    owners = frozenset(bound) & backup_of.keys()
    behind = primaries(backup_of)
    vservers = owners.union(*(behind.get(pk, ()) for pk in owners))
    # Where services may be kept by fail-open, the others decide whether one is.
    together = [pk for pk in owners if not fail_open.isdisjoint({pk, *behind.get(pk, ())})]
    if len(vservers) > LARGEST:
        return None
    return Scope(_services(pks, together), vservers, owners, backup_of)


def scope_of_vservers(pks: Collection[int]) -> Scope | None:
    """What the states of these vservers follow from; None when that is nearly everything. One query."""
    backup_of, _fail_open = _backups()
    owners = frozenset(pks).union(*(chain(pk, backup_of) for pk in pks)) & backup_of.keys()
    if len(owners) > LARGEST:
        return None
    return Scope(_services((), list(owners)), owners, owners, backup_of)


def _services(pks: Collection[int], bound_to: Collection[int]) -> QuerySet[Service]:
    bound = VServerServiceBinding.objects.order_by().filter(vserver__in=bound_to).values("service")
    return Service.objects.order_by().filter(Q(pk__in=pks) | Q(pk__in=bound))
