"""Which virtual servers a change may have to do with, by the rows of the configuration that differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from webui.backups import primaries
from webui.models import Service, ServiceMonitorBinding, VServer, VServerServiceBinding
from webui.revisions import RowChange
from webui.scope import LARGEST


@dataclass(frozen=True, slots=True)
class Place:
    """Of a vserver: what others share with it (the VIP), and who stands in for it."""

    address: str
    backup: int | None


def affected(changes: Iterable[RowChange]) -> frozenset[int]:
    """Row ids of vservers, also of those that are gone by the change. For use inside its transaction.

    Those with rows that differ, or bound services or monitors with such rows; what these back up; and all that share a
    VIP with any of them, for pings and look-ups are decided VIP by VIP. Constant number of queries.
    """
    touched: dict[str, set[int]] = {}
    after = {
        pk: Place(address, backup)
        for pk, address, backup in VServer.objects.order_by().values_list("pk", "address", "backup_vserver")
    }
    before = dict(after)
    for one in changes:
        touched.setdefault(one.kind, set()).add(one.row)
        for name, pk in {**(one.before or {}), **(one.after or {})}.items():
            if one.kind == "vserverservicebinding" and name == "vserver_id":
                touched.setdefault("vserver", set()).add(pk)
            elif one.kind == "servicemonitorbinding" and name == "service_id":
                touched.setdefault("service", set()).add(pk)
        if one.kind == "vserver":
            before.pop(one.row, None)
            if one.before is not None:
                before[one.row] = Place(one.before["address"], one.before["backup_vserver_id"])
    found = touched.get("vserver", set()) | _users(touched)
    for places in (before, after):
        behind = primaries({pk: place.backup for pk, place in places.items()})
        found |= {primary for pk in list(found) for primary in behind.get(pk, ())}
    addresses = {places[pk].address for places in (before, after) for pk in found if pk in places}
    return frozenset(
        found | {pk for places in (before, after) for pk, place in places.items() if place.address in addresses}
    )


def users_of(services: Collection[int]) -> frozenset[int]:
    """Vservers that have any of these services, by themselves or by a backup. Two queries."""
    found = _bound_to(services)
    behind = primaries(dict(VServer.objects.order_by().values_list("pk", "backup_vserver")))
    return frozenset(found | {primary for pk in found for primary in behind.get(pk, ())})


def _bound_to(services: Collection[int]) -> set[int]:
    found = VServerServiceBinding.objects.order_by()
    if len(services) <= LARGEST:
        found = found.filter(service__in=services)
    return {vserver for vserver, service in found.values_list("vserver", "service") if service in services}


def _users(touched: Mapping[str, set[int]]) -> set[int]:
    """Vservers of the services that differ, or whose server or monitor does."""
    services = set(touched.get("service", ()))
    for kind, rows, column in (
        ("server", Service.objects.order_by(), "server"),
        ("monitor", ServiceMonitorBinding.objects.order_by(), "monitor"),
    ):
        wanted = touched.get(kind, set())
        if not wanted:
            continue
        few = len(wanted) <= LARGEST
        found = rows.filter(**{f"{column}__in": wanted}) if few else rows
        pairs = found.values_list(column, "pk" if kind == "server" else "service")
        services |= {service for of, service in pairs if few or of in wanted}
    return _bound_to(services) if services else set()
