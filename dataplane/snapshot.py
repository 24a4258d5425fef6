"""Rows → Configuration. The only reader of configuration rows in this package."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from statistics import fmean

from django.db.models import Count, F, Max, Min, QuerySet
from django.utils import timezone

from dataplane import desired
from dataplane.balance import Measure
from dataplane.forwarding import Mode
from dataplane.tables import HashField, IPAddress, SettingFlag, WhenDown
from webui import freshness
from webui.backups import chain, primaries
from webui.choices import PROTOCOL_NUMBER, TURNS, AdminState, LbMethod, Persistence, State
from webui.effective import Verdict, flushes, sessionless, takes_clients, verdict_of, with_fail_open
from webui.fallen import fallen
from webui.models import (
    HealthState,
    HealthTransition,
    Installation,
    Monitor,
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

MEASURES: dict[str, Measure] = {
    LbMethod.LEASTCONNECTION: Measure.FLOWS,
    LbMethod.LEASTBANDWIDTH: Measure.BANDWIDTH,
    LbMethod.LRTM: Measure.RESPONSE_TIME,
}

# Beyond so many services whose verdicts changed, everything is read again.
MANY_SERVICES = 200
LATE_ROWS = 100
# Of so many vservers at most only their own rows are read; keys of more do not fit into one query.
MANY_VSERVERS = 900

# (configuration revision, newest health transition): differs whenever the tables may have to differ.
Mark = tuple[int, int]

Health = Mapping[tuple[str, int], Mapping[int, HealthState]]


@dataclass(slots=True)
class Rows:
    """Rows by what they belong to. One that was deleted between two of the queries is left out."""

    servers: dict[int, Server] = field(default_factory=dict)
    vservers: dict[int, VServer] = field(default_factory=dict)
    bindings_of: dict[int, list[VServerServiceBinding]] = field(default_factory=dict)  # by vserver
    monitors_of: dict[int, list[ServiceMonitorBinding]] = field(default_factory=dict)  # by service


@dataclass(frozen=True, slots=True)
class Checks:
    """What the checks found, and the moment at which it is looked at."""

    rows: Rows
    health: Health
    now: datetime
    fallen: frozenset[int] = frozenset()

    def verdicts(self, vserver: VServer, owner: int) -> dict[int, Verdict]:
        """States, at the VIP of ``vserver`` and by its rules, of the services bound to the vserver ``owner``.

        The two differ where the owner is a backup.
        """
        services = [binding.service for binding in self.rows.bindings_of.get(owner, ())]
        alone = {service.pk: self._verdict(service, vserver.address) for service in services}
        return with_fail_open(alone, vserver.fail_open)

    def _verdict(self, service: Service, vip: str) -> Verdict:
        found = self.health.get((vip, service.pk), {})
        return verdict_of(service, self.rows.monitors_of.get(service.pk, ()), found, self.now, fallen=self.fallen)


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
    return Reader().read(now or timezone.now())


@dataclass(slots=True)
class Reader:
    """Reads the configuration and keeps the rows, so that a verdict that changes costs a few of them, not all."""

    _rows: Rows = field(default_factory=Rows)
    _health: dict[tuple[str, int], dict[int, HealthState]] = field(default_factory=dict)
    _users: dict[int, set[int]] = field(default_factory=dict)  # vservers by the services that they may use
    _configuration: desired.Configuration | None = None

    def read(self, now: datetime, since: Mark | None = None) -> tuple[Mark, desired.Configuration]:
        """The configuration as it is at ``now``, and its mark; see the function :func:`read`.

        ``since`` is the mark of this reader's last answer. If only verdicts have changed since, no more is read than
        they are about, and vservers that they are not about are the same objects as before. Without it all is read.
        """
        while True:
            before = mark()
            configuration = self._follow(before, since, now)
            since = None  # should a second try be needed, it takes nothing for granted
            if configuration is None:
                configuration = self._read(before[0], now)
            if mark() == before:
                self._configuration = configuration
                return before, configuration
            log.debug("configuration changed while it was read, reading again")

    def _follow(self, latest: Mark, since: Mark | None, now: datetime) -> desired.Configuration | None:
        """The last configuration with the verdicts that changed; None when that does not tell all."""
        if self._configuration is None or since is None or latest[0] != since[0]:
            return None
        # Rows committed late may have lower numbers than some that were seen.
        recent = HealthTransition.objects.filter(pk__gt=since[1] - LATE_ROWS, service__isnull=False)
        services = set(recent.order_by().values_list("service", flat=True).distinct()[: MANY_SERVICES + 1])
        if len(services) > MANY_SERVICES:
            return None
        for row in HealthState.objects.filter(service__in=services).select_related("target"):
            self._health.setdefault((row.target.vip, row.service_id), {})[row.monitor_id] = row
        concerned = {pk for service in services for pk in self._users.get(service, ())}
        checks = self._checks(now)
        return replace(
            self._configuration,
            vservers=tuple(
                _vserver(self._rows.vservers[one.config_id], checks) if one.config_id in concerned else one
                for one in self._configuration.vservers
            ),
        )

    def _read(self, revision: int, now: datetime) -> desired.Configuration:
        installation, _made = Installation.objects.get_or_create(pk=1)
        self._health, self._rows = health_by_vip(), _rows()
        checks = self._checks(now)
        vservers = self._rows.vservers.values()
        behind = primaries({row.pk: row.backup_vserver_id for row in vservers})
        self._users = {}
        for pk, bindings in self._rows.bindings_of.items():
            for binding in bindings:
                self._users.setdefault(binding.service_id, set()).update([pk, *behind.get(pk, [])])
        return desired.Configuration(
            revision=revision,
            hash_key=bytes.fromhex(installation.hash_key),
            vservers=tuple(_vserver(row, checks) for row in vservers if row.state == AdminState.ENABLED),
            probes=tuple(
                desired.ProbeTarget(
                    address=ip_address(row.address), vip=ip_address(row.vip), server=ip_address(row.server.address)
                )
                for row in ProbeTarget.objects.select_related("server").order_by("pk")
            ),
            servers=tuple(ip_address(server.address) for server in self._rows.servers.values()),
            rules=rules_of(installation),
            mode=Mode[installation.forwarding_mode],
        )

    def _checks(self, now: datetime) -> Checks:
        fails_open = any(vserver.fail_open for vserver in self._rows.vservers.values())
        return Checks(self._rows, self._health, now, fallen() if fails_open else frozenset())


def read_vservers(pks: Collection[int], now: datetime) -> tuple[desired.VServerConfig, ...]:
    """Those of these vservers that are enabled, as they are at ``now``, by row; no rows are read but what they need.

    A constant number of queries. No mark is compared: it is for who holds a transaction, or compares marks himself.
    """
    backup_of = dict(VServer.objects.order_by().values_list("pk", "backup_vserver"))
    owners = {one for pk in pks if pk in backup_of for one in (pk, *chain(pk, backup_of))}
    rows = _rows(owners if len(owners) <= MANY_VSERVERS else None)
    wanted = [row for pk, row in rows.vservers.items() if pk in owners]
    health = health_by_vip(_services_bound_to(owners) if len(owners) <= MANY_VSERVERS else None)
    fails_open = any(row.fail_open for row in wanted)
    checks = Checks(rows, health, now, fallen() if fails_open else frozenset())
    return tuple(_vserver(row, checks) for row in wanted if row.pk in pks and row.state == AdminState.ENABLED)


# A probe address, the VIP and the server's address that it stands for; as text.
ProbeText = tuple[str, str, str]


def probe_texts() -> frozenset[ProbeText]:
    """Every probe address with what it stands for. One query."""
    return frozenset(ProbeTarget.objects.order_by().values_list("address", "vip", "server__address"))


def counts() -> dict[str, int]:
    """How many vservers, VIPs and services the tables must hold, by their own bindings. Two queries."""
    enabled = VServer.objects.filter(state=AdminState.ENABLED)
    bound = VServerServiceBinding.objects.filter(vserver__state=AdminState.ENABLED)
    found: dict[str, int] = enabled.aggregate(vservers=Count("pk"), vips=Count("address", distinct=True))
    return found | bound.aggregate(services=Count("service", distinct=True))


def rules_of(installation: Installation) -> SettingFlag:
    """The rules of the whole director."""
    return SettingFlag.TTL if installation.ttl_rule else SettingFlag(0)


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


def measures() -> dict[int, Measure]:
    """What the vservers whose services' shares follow the load are to be measured by, by row id. One query."""
    rows = VServer.objects.filter(state=AdminState.ENABLED, lb_method__in=list(MEASURES))
    return {pk: MEASURES[method] for pk, method in rows.values_list("pk", "lb_method")}


def response_times(vservers: Collection[int]) -> dict[tuple[int, int], float]:
    """Mean response time in seconds of the monitors that are UP, by row ids of vserver and service.

    One query, and one question to Redis: without it these are the times at the last changes of state.
    """
    rows = HealthState.objects.filter(
        service__vserver_bindings__vserver__in=list(vservers),
        target__vip=F("service__vserver_bindings__vserver__address"),
        state=State.UP,
    ).values_list("service__vserver_bindings__vserver", "service", "pk", "edition", "response_time")
    known = freshness.figures({pk for _vserver, _service, pk, _edition, _time in rows})
    times: dict[tuple[int, int], list[float]] = {}
    for vserver, service, pk, edition, at_last_change in rows:
        new = known.get(pk)
        time = new.response_time if new is not None and new.edition == edition else at_last_change
        if time is not None:
            times.setdefault((vserver, service), []).append(time)
    return {pair: fmean(found) for pair, found in times.items()}


def _services_bound_to(owners: Collection[int]) -> QuerySet[Service]:
    """To be used within other queries."""
    bound = VServerServiceBinding.objects.order_by().filter(vserver__in=owners)
    return Service.objects.order_by().filter(pk__in=bound.values("service"))


def _rows(owners: Collection[int] | None = None) -> Rows:
    """All of them, or those that these vservers have to do with.

    Linked here: the lists of numbers that Django's prefetch sends are too long for SQLite.
    """
    servers, services = Server.objects.order_by("pk"), Service.objects.all()
    checks, vservers = ServiceMonitorBinding.objects.order_by("pk"), VServer.objects.order_by("pk")
    bindings = VServerServiceBinding.objects.order_by("pk")
    if owners is not None:
        services = _services_bound_to(owners)
        servers = servers.filter(pk__in=services.values("server"))
        checks, bindings = checks.filter(service__in=services.values("pk")), bindings.filter(vserver__in=owners)
        vservers = vservers.filter(pk__in=owners)
    rows = Rows(servers={row.pk: row for row in servers})
    monitors = {row.pk: row for row in Monitor.objects.all()}
    known = {row.pk: row for row in services if row.server_id in rows.servers}
    for service in known.values():
        service.server = rows.servers[service.server_id]
    for checked in checks:
        if checked.service_id in known and checked.monitor_id in monitors:
            checked.monitor = monitors[checked.monitor_id]
            rows.monitors_of.setdefault(checked.service_id, []).append(checked)
    rows.vservers = {row.pk: row for row in vservers}
    for bound in bindings:
        if bound.service_id in known and bound.vserver_id in rows.vservers:
            bound.service = known[bound.service_id]
            rows.bindings_of.setdefault(bound.vserver_id, []).append(bound)
    return rows


def health_by_vip(services: QuerySet[Service] | None = None) -> dict[tuple[str, int], dict[int, HealthState]]:
    """Every health row, or those of some services, by VIP and service, then by monitor."""
    found: dict[tuple[str, int], dict[int, HealthState]] = defaultdict(dict)
    rows = HealthState.objects.select_related("target")
    for row in rows if services is None else rows.filter(service__in=services.values("pk")):
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
        hash_fields=HASH_FIELDS.get(row.lb_method, HashField.SOURCE),
        mask=_mask(address.version, row.netmask, row.v6_netmask_len),
        services=_services(row, checks),
        options=_options(row, address.version),
        port_end=row.port_end,
    )


def _options(row: VServer, version: int) -> desired.VServerOptions:
    persists = row.persistence_type == Persistence.SOURCEIP
    return desired.VServerOptions(
        ping=desired.Ping[row.ping],
        when_down=WhenDown[row.when_down],
        sessions=not sessionless(row),
        rotate=row.lb_method in TURNS,
        idle_timeout=row.clt_timeout,
        persist_timeout=row.timeout * 60 if persists else 0,
        persist_mask=_mask(version, row.persist_mask, row.v6_persist_mask_len) if persists else None,
        syn_rate=row.syn_rate,
        syn_burst=row.syn_burst,
        source_syn_rate=row.source_syn_rate,
        source_syn_burst=row.source_syn_burst,
        source_mask=_mask(version, row.source_syn_mask, row.v6_source_syn_mask_len) if row.source_syn_rate else None,
    )


def _services(row: VServer, checks: Checks) -> tuple[desired.ServiceConfig, ...]:
    """The vserver's own services, or those of the first of its backups that can serve while it cannot."""
    own = _services_of(row.pk, row, checks)
    if not row.backup_vserver_id or any(service.eligible for service in own):
        return own
    backup_of = {pk: one.backup_vserver_id for pk, one in checks.rows.vservers.items()}
    for pk in chain(row.pk, backup_of):
        if checks.rows.vservers[pk].state != AdminState.ENABLED:
            continue
        # At the primary's VIP, by its rules: its are the packets.
        services = _services_of(pk, row, checks)
        if any(service.eligible for service in services):
            return services
    return own


def _services_of(owner: int, vserver: VServer, checks: Checks) -> tuple[desired.ServiceConfig, ...]:
    verdicts = checks.verdicts(vserver, owner)
    bindings = checks.rows.bindings_of.get(owner, ())
    return tuple(_service(binding, vserver, verdicts[binding.service_id]) for binding in bindings)


def _mask(version: int, mask: str, length: int) -> IPAddress:
    if version == 4:
        return ip_address(mask)
    return IPv6Address(((1 << length) - 1) << (128 - length))


def _service(binding: VServerServiceBinding, vserver: VServer, verdict: Verdict) -> desired.ServiceConfig:
    service = binding.service
    identity = f"id {service.hash_id}" if service.hash_id else f"{service.server.address} {service.port}"
    return desired.ServiceConfig(
        config_id=service.pk,
        name=service.name,
        address=ip_address(service.server.address),
        weight=binding.weight,
        hash_identity=identity,
        eligible=takes_clients(verdict, keeps_no_flows=sessionless(vserver)),
        reason=f"{verdict.state}: {verdict.reason}",
        flush=flushes(verdict, service, vserver),
    )


def server_addresses() -> dict[int, IPAddress]:
    """Own address of every server by row id, bound or not."""
    return {pk: ip_address(address) for pk, address in Server.objects.values_list("pk", "address")}
