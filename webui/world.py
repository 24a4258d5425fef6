"""All configuration and state rows, read with a constant number of queries, and the states that follow from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, QuerySet
from django.utils import timezone

from webui import freshness
from webui.backups import chain, primaries
from webui.choices import STATE_ORDER, AdminState, State
from webui.effective import Verdict, sessionless, takes_clients, verdict_of, vserver_state, with_fail_open
from webui.fallen import fallen
from webui.models import (
    DataplaneStatus,
    DirectorCounters,
    HealthState,
    Monitor,
    Server,
    ServerPath,
    Service,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)
from webui.payloads import STALE_AFTER_SECONDS, Rates
from webui.quick import objects
from webui.scope import Scope
from webui.stale import is_overdue

LEAVING = frozenset({State.OUT_OF_SERVICE, State.GOING_OUT, State.DOWN_GOING_OUT})
NOT_BOUND = "bound to no virtual server, so there is no VIP to check"


def is_stale(at: datetime | None, now: datetime) -> bool:
    """Whether a director's report from ``at`` is too old to be believed."""
    return at is None or now - at > timedelta(seconds=STALE_AFTER_SECONDS)


@dataclass
class World:
    """Rows by primary key, and by what refers to them. :func:`load_world` fills it."""

    now: datetime
    servers: dict[int, Server] = field(default_factory=dict)
    services: dict[int, Service] = field(default_factory=dict)
    vservers: dict[int, VServer] = field(default_factory=dict)
    monitors: dict[int, Monitor] = field(default_factory=dict)
    services_of: dict[int, list[Service]] = field(default_factory=lambda: defaultdict(list))
    monitors_of: dict[int, list[ServiceMonitorBinding]] = field(default_factory=lambda: defaultdict(list))
    bindings_of_service: dict[int, list[VServerServiceBinding]] = field(default_factory=lambda: defaultdict(list))
    bindings_of_vserver: dict[int, list[VServerServiceBinding]] = field(default_factory=lambda: defaultdict(list))
    health: dict[tuple[int, str, int], HealthState] = field(default_factory=dict)  # service, VIP, monitor
    paths: dict[int, list[ServerPath]] = field(default_factory=lambda: defaultdict(list))
    directors: list[DataplaneStatus] = field(default_factory=list)
    counters: list[DirectorCounters] = field(default_factory=list)
    backup_of: dict[int, int | None] = field(default_factory=dict)
    primaries: dict[int, list[int]] = field(default_factory=dict)
    fallen: frozenset[int] = frozenset()  # health rows that are DOWN and were UP before
    checked: dict[int, datetime] = field(default_factory=dict)  # by health row; those never checked are not there
    is_whole: bool = False  # whether every row of the configuration is in it
    _alone: dict[tuple[int, str], Verdict] = field(default_factory=dict)
    _verdicts: dict[tuple[int, int], dict[int, Verdict]] = field(default_factory=dict)
    _checks_by: tuple[Counter[int], Counter[int]] | None = None
    _used: dict[int, list[tuple[VServer, VServer]]] = field(default_factory=dict)
    _stale: dict[int, list[HealthState]] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)  # what others read once for this world

    @classmethod
    def of_counters(cls) -> World:
        """Of what directors counted alone: one query."""
        return cls(now=timezone.now(), counters=_counters())

    def vips(self, service: Service) -> list[str]:
        """Addresses at which the service is checked, each once: of its virtual servers, and of those they back up."""
        return list(dict.fromkeys(rules.address for rules, _owner in self._uses(service)))

    def _uses(self, service: Service) -> list[tuple[VServer, VServer]]:
        """Virtual servers whose clients it may get, each with the one that it is bound to: itself, or a backup."""
        key = service.pk
        if key in self._used:
            return self._used[key]
        bound = [binding.vserver for binding in self.bindings_of_service[key]]
        behind = [(self.vservers[pk], owner) for owner in bound for pk in self.primaries.get(owner.pk, [])]
        found = self._used[key] = [*((vserver, vserver) for vserver in bound), *behind]
        return found

    def backup_taking(self, vserver: VServer) -> VServer | None:
        """The backup that gets the vserver's clients now; None while it serves them itself, or nobody does."""
        if vserver.state != AdminState.ENABLED or self._takes(vserver, vserver):
            return None
        for pk in chain(vserver.pk, self.backup_of):
            backup = self.vservers[pk]
            if backup.state == AdminState.ENABLED and self._takes(vserver, backup):
                return backup
        return None

    def _takes(self, rules: VServer, owner: VServer) -> bool:
        return any(
            takes_clients(verdict, keeps_no_flows=sessionless(rules))
            for verdict in self.verdicts(rules, owner).values()
        )

    def verdicts(self, rules: VServer, owner: VServer | None = None) -> dict[int, Verdict]:
        """States of an owner's services, by service, at the VIP of ``rules`` and with its fail-open threshold.

        The owner is ``rules`` itself, or a backup of it.
        """
        owner = owner or rules
        key = (rules.pk, owner.pk)
        if key not in self._verdicts:
            services = [binding.service for binding in self.bindings_of_vserver[owner.pk]]
            alone = {service.pk: self.alone(service, rules.address) for service in services}
            self._verdicts[key] = with_fail_open(alone, rules.fail_open)
        return self._verdicts[key]

    def verdict(self, service: Service, vserver: VServer) -> Verdict:
        """State of a service for the clients of a virtual server that it is bound to."""
        return self.verdicts(vserver)[service.pk]

    def alone(self, service: Service, vip: str) -> Verdict:
        """State of the service at one VIP by its own checks, whatever becomes of the others."""
        key = (service.pk, vip)
        if key not in self._alone:
            bound = self.monitors_of[key[0]]
            rows = {one.monitor_id: self.health.get((*key, one.monitor_id)) for one in bound}
            health = {monitor_id: row for monitor_id, row in rows.items() if row is not None}
            flows = self._flows_left(service)
            self._alone[key] = verdict_of(service, bound, health, self.now, flows=flows, fallen=self.fallen)
        return self._alone[key]

    def stale(self, service: Service, vip: str = "") -> list[HealthState]:
        """Its checks that should have had a result by now, at one VIP or at all of them."""
        key = service.pk
        if key not in self._stale:
            self._stale[key] = [
                row
                for bound in self.monitors_of[key]
                for one in self.vips(service)
                if (row := self.health.get((key, one, bound.monitor_id))) is not None
                and is_overdue(bound, row, self.checked.get(row.pk), self.now)
            ]
        found = self._stale[key]
        return [row for row in found if row.target.vip == vip] if vip else found

    def checks_by(self, monitor: int) -> tuple[int, int]:
        """How many services a monitor checks, and how many of them it finds DOWN."""
        if self._checks_by is None:
            bound = Counter(one.monitor_id for bindings in self.monitors_of.values() for one in bindings)
            down = {(row.monitor_id, row.service_id) for row in self.health.values() if row.state == State.DOWN}
            self._checks_by = bound, Counter(pk for pk, _service in down)
        services, failing = self._checks_by
        return services[monitor], failing[monitor]

    def _flows_left(self, service: Service) -> int | None:
        leaving = AdminState.DISABLED in {service.state, service.server.state}
        return self.rates("services", service.pk)["flows"] if leaving else None

    def service_state(self, service: Service) -> Verdict:
        """The worst of its states over its VIPs; without a VIP there is nothing to check."""
        uses = self._uses(service)
        if not uses:
            administrative = self.alone(service, "")
            if administrative.state in LEAVING:
                return administrative
            return Verdict(State.UNKNOWN, NOT_BOUND)
        found = [(rules.address, self.verdicts(rules, owner)[service.pk]) for rules, owner in uses]
        worst_vip, worst = min(found, key=lambda one: STATE_ORDER[one[1].state])
        if len(self.vips(service)) == 1 or worst.state in {State.UP, State.OUT_OF_SERVICE, State.GOING_OUT}:
            return worst
        return Verdict(worst.state, f"at {worst_vip}: {worst.reason}")

    def bare_state(self, vserver: VServer) -> State:
        """That of :meth:`vserver_state` without the reason, which takes as long again."""
        verdicts = self.verdicts(vserver).values()
        enabled = vserver.state == AdminState.ENABLED
        return vserver_state(enabled=enabled, services=verdicts, keeps_no_flows=sessionless(vserver))

    def vserver_state(self, vserver: VServer) -> Verdict:
        """State of a virtual server, with the reason in words."""
        verdicts, state = list(self.verdicts(vserver).values()), self.bare_state(vserver)
        if state == State.OUT_OF_SERVICE:
            return Verdict(state, "it is disabled")
        backup = self.backup_taking(vserver)
        instead = f"; its clients go to {backup.name}, its backup" if backup else ""
        if not verdicts:
            return Verdict(state, f"no service is bound to it{instead}")
        states = [verdict.state for verdict in verdicts]
        going = states.count(State.GOING_OUT)
        leaving = f", {going} going out of service" if going else ""
        if kept := states.count(State.FAIL_OPEN):
            leaving += f", {kept} failing and kept by fail-open"
        if stale := sum(bool(self.stale(one.service, vserver.address)) for one in self.bindings_of_vserver[vserver.pk]):
            leaving += f", {stale} stale"
        if state == State.UP:
            return Verdict(state, f"{states.count(State.UP)} of {len(states)} services UP{leaving}")
        if state == State.UNKNOWN:
            return Verdict(state, f"its services are not checked yet{leaving}{instead}")
        return Verdict(state, f"none of its services is UP{leaving}{instead}")

    def rates(self, kind: str, key: int | str) -> Rates:
        """Sum of the counters of every director that still reports."""
        found = [
            row.payload.get(kind, {}).get(str(key), {}) for row in self.counters if not is_stale(row.taken_at, self.now)
        ]
        return Rates(
            packets_per_second=_total(found, "packets_per_second"),
            bits_per_second=_total(found, "bits_per_second"),
            packets=_total(found, "packets"),
            flows=_total(found, "flows"),
            dropped=_total(found, "dropped"),
            dropped_per_second=_total(found, "dropped_per_second"),
            new_flows=_total(found, "new_flows"),
            new_flows_per_second=_total(found, "new_flows_per_second"),
        )

    def drops(self, vserver: int) -> dict[str, int]:
        """Packets of a vserver's clients that were dropped, by reason, on every director that still reports."""
        sums: dict[str, int] = {}
        for row in self.counters:
            if is_stale(row.taken_at, self.now):
                continue
            for reason, packets in row.payload.get("vservers", {}).get(str(vserver), {}).get("drops", {}).items():
                sums[reason] = sums.get(reason, 0) + packets
        return sums


def _total(counters: Iterable[dict[str, Any]], name: str) -> Any:
    values = [counter[name] for counter in counters if name in counter]
    return sum(values) if values else None


def _counters() -> list[DirectorCounters]:
    return list(DirectorCounters.objects.order_by("director"))


def load_world(scope: Scope | None = None, counters: list[DirectorCounters] | None = None) -> World:
    """Read the rows: eleven queries, however many rows there are; one more where a vserver may fail open.

    With a ``scope`` only what is in it: enough for the rows that it was made for. What Redis knows of the checks is in
    them. ``counters`` that were just read are not read again.
    """
    world = World(now=timezone.now(), is_whole=scope is None)
    services, vservers = Service.objects.all(), VServer.objects.all()
    if scope is not None:
        services, vservers = services.filter(pk__in=scope.services), vservers.filter(pk__in=scope.vservers)
    world.servers = {server.pk: server for server in objects(_within(Server.objects.all(), "services", scope))}
    world.services = {service.pk: service for service in objects(services, {"server": world.servers})}
    for service in world.services.values():
        world.services_of[service.server_id].append(service)
    world.vservers = {vserver.pk: vserver for vserver in objects(vservers)}
    backup_of = {pk: vserver.backup_vserver_id for pk, vserver in world.vservers.items()}
    world.backup_of = {pk: backup if backup in world.vservers else None for pk, backup in backup_of.items()}
    behind = primaries(backup_of if scope is None else scope.backup_of)
    world.primaries = {pk: [one for one in found if one in world.vservers] for pk, found in behind.items()}
    world.monitors = {monitor.pk: monitor for monitor in Monitor.objects.all()}
    world.directors = list(DataplaneStatus.objects.order_by("director"))
    world.counters = _counters() if counters is None else counters
    for path in objects(_within(ServerPath.objects.order_by("director"), "server__services", scope)):
        world.paths[path.server_id].append(path)
    states = list(objects(_within(HealthState.objects.all(), "service", scope), joined="target"))
    world.health = {(row.service_id, row.target.vip, row.monitor_id): row for row in states}
    world.checked = freshness.refresh(states)
    if any(vserver.fail_open for vserver in world.vservers.values()):
        world.fallen = fallen()
    _link(world, scope)
    return world


Found = TypeVar("Found", bound=Model)


def _within(rows: QuerySet[Found], service: str, scope: Scope | None) -> QuerySet[Found]:
    """Those of the scope's services; ``service`` is the look-up that leads there."""
    if scope is None:
        return rows
    found = rows.filter(**{f"{service}__in": scope.services})
    return found.distinct() if "services" in service else found


def _link(world: World, scope: Scope | None) -> None:
    """Point rows at each other; a row that was deleted between two of the queries is left out."""
    checks = _within(ServiceMonitorBinding.objects.order_by("monitor__name"), "service", scope)
    for checked in objects(checks, {"service": world.services, "monitor": world.monitors}):
        world.monitors_of[checked.service_id].append(checked)
    bindings = VServerServiceBinding.objects.order_by("service__name", "vserver__name")
    bindings = bindings if scope is None else bindings.filter(vserver__in=scope.owners)
    for bound in objects(bindings, {"service": world.services, "vserver": world.vservers}):
        world.bindings_of_service[bound.service_id].append(bound)
        world.bindings_of_vserver[bound.vserver_id].append(bound)


def row_of(rows: dict[int, Any], pk: int) -> Any:
    """One of a world's rows. Raises ObjectDoesNotExist."""
    if pk not in rows:
        raise ObjectDoesNotExist(f"No object {pk}.")
    return rows[pk]
