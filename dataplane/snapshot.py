"""Rows → Configuration. The only reader of configuration rows in this package."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address

from django.db.models import Max, Min, Prefetch
from django.utils import timezone

from dataplane import desired
from dataplane.tables import HashField, IPAddress
from webui.choices import PROTOCOL_NUMBER, AdminState, LbMethod
from webui.effective import Verdict, sessionless, takes_clients, verdict_of
from webui.models import (
    HealthState,
    HealthTransition,
    Installation,
    ProbeTarget,
    Server,
    Service,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)

log = logging.getLogger(__name__)

HASH_FIELDS: dict[str, HashField] = {
    LbMethod.SOURCEIPHASH: HashField.SOURCE,
    LbMethod.DESTINATIONIPHASH: HashField.DESTINATION,
    LbMethod.SRCIPDESTIPHASH: HashField.SOURCE | HashField.DESTINATION,
    LbMethod.SRCIPSRCPORTHASH: HashField.SOURCE | HashField.SOURCE_PORT,
}

# (configuration revision, newest health transition): differs whenever the tables may have to differ.
Mark = tuple[int, int]

Health = Mapping[tuple[str, int], Mapping[int, HealthState]]


@dataclass(frozen=True, slots=True)
class Checks:
    """What the checks found, and the moment at which it is looked at."""

    health: Health
    now: datetime

    def verdict(self, service: Service, vip: str) -> Verdict:
        """State of a service, read with its monitors, at a VIP."""
        found = self.health.get((vip, service.pk), {})
        return verdict_of(service, service.monitor_bindings.all(), found, self.now)


def mark() -> Mark:
    """Two cheap queries that tell whether a new snapshot is worth its price."""
    revision = Installation.objects.filter(pk=1).values_list("revision", flat=True).first() or 0
    newest = HealthTransition.objects.aggregate(newest=Max("pk"))["newest"] or 0
    return revision, newest


def read(now: datetime | None = None) -> tuple[Mark, desired.Configuration]:
    """Read the whole configuration, as it is at ``now``, with a constant number of queries.

    No transaction is held (on SQLite it would lock out writers): the mark is read before and after, and a change in
    between makes another try. Raises django.db.Error when the database is away.
    """
    now = now or timezone.now()
    while True:
        before = mark()
        configuration = _read(before[0], now)
        if mark() == before:
            return before, configuration
        log.debug("configuration changed while it was read, reading again")


def next_departure(now: datetime) -> datetime | None:
    """When, after ``now``, the next service stops serving by the clock alone: no mark will tell of that.

    What :func:`read` found at ``now`` holds until then. Two queries.
    """
    moments = [
        model._default_manager.filter(state=AdminState.DISABLED, out_of_service_at__gt=now).aggregate(
            first=Min("out_of_service_at")
        )["first"]
        for model in (Server, Service)
    ]
    return min((moment for moment in moments if moment is not None), default=None)


def _read(revision: int, now: datetime) -> desired.Configuration:
    installation, _made = Installation.objects.get_or_create(pk=1)
    checks = Checks(health_by_vip(), now)
    return desired.Configuration(
        revision=revision,
        hash_key=bytes.fromhex(installation.hash_key),
        vservers=tuple(_vserver(row, checks) for row in _enabled_vservers()),
        probes=tuple(
            desired.ProbeTarget(
                address=ip_address(row.address), vip=ip_address(row.vip), server=ip_address(row.server.address)
            )
            for row in ProbeTarget.objects.select_related("server").order_by("pk")
        ),
        servers=tuple(server_addresses().values()),
    )


def _enabled_vservers() -> Iterable[VServer]:
    services = Service.objects.select_related("server").prefetch_related(
        Prefetch("monitor_bindings", ServiceMonitorBinding.objects.select_related("monitor"))
    )
    bindings = VServerServiceBinding.objects.prefetch_related(Prefetch("service", services)).order_by("pk")
    return (
        VServer.objects.filter(state=AdminState.ENABLED)
        .prefetch_related(Prefetch("service_bindings", bindings))
        .order_by("pk")
    )


def health_by_vip() -> Health:
    """Every health row, by VIP and service, then by monitor."""
    found: dict[tuple[str, int], dict[int, HealthState]] = defaultdict(dict)
    for row in HealthState.objects.select_related("target"):
        found[row.target.vip, row.service_id][row.monitor_id] = row
    return found


def _vserver(row: VServer, checks: Checks) -> desired.VServerConfig:
    address = ip_address(row.address)
    return desired.VServerConfig(
        config_id=row.pk,
        name=row.name,
        address=address,
        protocol=PROTOCOL_NUMBER[row.service_type],
        port=row.port,
        hash_fields=HASH_FIELDS[row.lb_method],
        mask=_mask(row, address),
        services=tuple(_service(binding, row, checks) for binding in row.service_bindings.all()),
    )


def _mask(row: VServer, address: IPAddress) -> IPAddress:
    if address.version == 4:
        return ip_address(row.netmask)
    length = row.v6_netmask_len
    return IPv6Address(((1 << length) - 1) << (128 - length))


def _service(binding: VServerServiceBinding, vserver: VServer, checks: Checks) -> desired.ServiceConfig:
    service = binding.service
    verdict = checks.verdict(service, vserver.address)
    identity = f"id {service.hash_id}" if service.hash_id else f"{service.server.address} {service.port}"
    return desired.ServiceConfig(
        config_id=service.pk,
        name=service.name,
        address=ip_address(service.server.address),
        weight=binding.weight,
        hash_identity=identity,
        eligible=takes_clients(verdict, keeps_no_flows=sessionless(vserver)),
        reason=f"{verdict.state}: {verdict.reason}",
    )


def server_addresses() -> dict[int, IPAddress]:
    """Own address of every server by row id, bound or not."""
    return {pk: ip_address(address) for pk, address in Server.objects.values_list("pk", "address")}
