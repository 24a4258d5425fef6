"""Reads for the dashboard, the lists and the websocket. Query counts are constant; tests pin them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from django.db import connection
from django.urls import reverse

from webui.choices import STATE_ORDER, AdminState, AuditVerb, State
from webui.models import AuditEntry, DataplaneStatus, HealthTransition, Monitor, Server, Service, VServer
from webui.payloads import (
    ChangeRow,
    CountersRow,
    DirectorRow,
    MonitorRow,
    Overview,
    ReasonRow,
    ServerRow,
    ServiceRow,
    TransitionRow,
    VServerRow,
)
from webui.problems import problems
from webui.world import World, is_stale, load_world

LATEST = 12  # rows of "latest" tables

# Names of dataplane.tables.Reason, in words.
REASON_WORDS = {
    "FORWARDED": "forwarded to a server",
    "ARP_ANSWERED": "ARP request for a VIP answered",
    "ND_ANSWERED": "neighbour solicitation for a VIP answered",
    "PROBE_SENT": "health check sent",
    "PROBE_ANSWERED": "health check answered",
    "PASS_NOT_IP": "passed: neither ARP, IPv4 nor IPv6",
    "PASS_NOT_VIP": "passed: not for a VIP",
    "PASS_NOT_TO_US": "passed: broadcast, multicast or another host's frame",
    "PASS_VLAN": "passed: tagged frame on an untagged interface",
    "PASS_MALFORMED": "passed: too short or inconsistent to know its destination",
    "DROP_MALFORMED": "dropped: for a VIP, but its headers end too early",
    "DROP_NO_VSERVER": "dropped: for a VIP, but no virtual server has this protocol and port",
    "DROP_NO_SERVICE": "dropped: no service of the virtual server is UP",
    "DROP_FRAGMENT": "dropped: later fragment without ports, and only ports would decide",
    "DROP_OWN_MAC": "dropped: would go back to the director itself",
    "DROP_PROBE_UNMAPPED": "dropped: probe address that stands for no server",
    "DROP_TABLE": "dropped: table entry missing, a fault of Halfpipe",
}


def port_text(port: int) -> str:
    """A port as NetScaler shows it: ``*`` for any."""
    return str(port) if port else "*"


def endpoint(address: str, port: int) -> str:
    """``address:port`` with brackets round IPv6 (RFC 3986)."""
    host = f"[{address}]" if ip_address(address).version == 6 else address
    return f"{host}:{port_text(port)}"


def iso(at: datetime | None) -> str | None:
    """ISO 8601, or None."""
    return at.isoformat() if at else None


def url_of(kind: str, pk: int | None) -> str:
    """Address of the object's page; empty when the object is gone."""
    return reverse("detail", args=[kind, pk]) if pk else ""


def vserver_row(world: World, vserver: VServer) -> VServerRow:
    """A virtual server with its state and traffic."""
    verdict = world.vserver_state(vserver)
    bindings = world.bindings_of_vserver[vserver.pk]
    up = sum(world.verdict(binding.service, vserver.address).state == State.UP for binding in bindings)
    return VServerRow(
        key=str(vserver.pk),
        url=url_of("vservers", vserver.pk),
        name=vserver.name,
        state=verdict.state,
        state_reason=verdict.reason,
        endpoint=endpoint(vserver.address, vserver.port),
        service_type=vserver.service_type,
        method=vserver.get_lb_method_display(),
        services=f"{up}/{len(bindings)}",
        services_up=up,
        services_total=len(bindings),
        **world.rates("vservers", vserver.pk),
    )


def service_row(world: World, service: Service) -> ServiceRow:
    """A service with its worst state over its VIPs, its weights and the way to its server."""
    verdict = world.service_state(service)
    weights = [f"{binding.vserver.name}:\u00a0{binding.weight}" for binding in world.bindings_of_service[service.pk]]
    return ServiceRow(
        key=str(service.pk),
        url=url_of("services", service.pk),
        name=service.name,
        state=verdict.state,
        state_reason=verdict.reason,
        server=service.server.name,
        server_url=url_of("servers", service.server_id),
        endpoint=endpoint(service.server.address, service.port),
        service_type=service.service_type,
        weights=", ".join(weights),
        path=_path_refusal(world, service.server_id),
        **world.rates("services", service.pk),
    )


def _path_refusal(world: World, server_id: int) -> str:
    """Why directors send the server nothing; empty when each can reach it."""
    refusals = [path for path in world.paths[server_id] if not path.eligible]
    return "; ".join(f"{path.director}: {path.reason or 'not reachable on layer 2'}" for path in refusals)


def server_row(world: World, server: Server) -> ServerRow:
    """A server with its MAC address and whether directors can reach it."""
    paths = world.paths[server.pk]
    refusal = _path_refusal(world, server.pk)
    eligible = "UNKNOWN" if not paths else "NO" if refusal else "YES"
    return ServerRow(
        key=str(server.pk),
        url=url_of("servers", server.pk),
        name=server.name,
        address=server.address,
        state=server.state,
        state_reason="its services are out of service" if server.state == AdminState.DISABLED else "",
        mac=", ".join(dict.fromkeys(path.mac for path in paths if path.mac)),
        interface=", ".join(dict.fromkeys(path.interface for path in paths if path.interface)),
        path=refusal if paths else "no director has looked for it yet",
        eligible=eligible,
        services=len(world.services_of[server.pk]),
    )


def monitor_row(world: World, monitor: Monitor) -> MonitorRow:
    """A monitor with the number of services that it checks."""
    bound = [
        binding for bindings in world.monitors_of.values() for binding in bindings if binding.monitor_id == monitor.pk
    ]
    failing = {
        health.service_id
        for health in world.health.values()
        if health.monitor_id == monitor.pk and health.state == State.DOWN
    }
    return MonitorRow(
        key=str(monitor.pk),
        url=url_of("monitors", monitor.pk),
        name=monitor.name,
        state=monitor.state,
        state_reason="built in" if monitor.built_in else "",
        monitor_type=monitor.monitor_type,
        timing=f"every {monitor.interval} s, {monitor.resp_timeout} s to answer, {monitor.retries} tries",
        services=len(bound),
        failing=len(failing),
    )


def director_row(status: DataplaneStatus, now: datetime) -> DirectorRow:
    """What a director reports about itself, and whether it still does."""
    if is_stale(status.heartbeat_at, now):
        state, reason = "STALE", "it no longer reports; what it forwards is not known"
    elif status.last_error:
        state, reason = "ERROR", "its last round failed"
    elif status.applied_revision < status.wanted_revision:
        state, reason = "APPLYING", "the latest configuration is not applied yet"
    else:
        state, reason = "CURRENT", "the latest configuration is applied"
    return DirectorRow(
        key=str(status.pk),
        director=status.director,
        state=state,
        state_reason=reason,
        revision=f"{status.applied_revision} of {status.wanted_revision}",
        mode=status.mode,
        heartbeat_at=iso(status.heartbeat_at),
        round=f"{status.round_ms:.0f} ms" + (f": {status.round_summary}" if status.round_summary else ""),
        drift=status.drift,
        last_error=status.last_error,
    )


def reason_rows(world: World) -> list[ReasonRow]:
    """Why packets were forwarded, passed or dropped, summed over the directors."""
    names = dict.fromkeys(name for row in world.counters for name in row.payload.get("reasons", {}))
    rows = []
    for name in names:
        rates = world.rates("reasons", name)
        words = REASON_WORDS.get(name.upper(), name)
        rows.append(
            ReasonRow(key=name, reason=words, packets=rates["packets"], packets_per_second=rates["packets_per_second"])
        )
    return rows


def transition_rows(service: Service | None = None, limit: int = LATEST) -> list[TransitionRow]:
    """Latest changes of state, newest first."""
    found = HealthTransition.objects.all() if service is None else HealthTransition.objects.filter(service=service)
    return [
        TransitionRow(
            key=str(row.pk),
            at=row.at.isoformat(),
            service=row.service_name,
            url=url_of("services", row.service_id),
            vip=row.vip,
            monitor=row.monitor_name,
            old=row.old,
            new=row.new,
            reason=row.reason,
        )
        for row in found[:limit]
    ]


def change_rows(kind: str = "", object_id: int | None = None, limit: int = LATEST) -> list[ChangeRow]:
    """Latest audit entries, newest first; of one object when ``kind`` (model name) is given."""
    # Logins are no changes, and what someone typed as a name may have been a password.
    found = AuditEntry.objects.exclude(kind="user")
    if kind:
        found = found.filter(kind=kind, object_id=object_id)
    return [
        ChangeRow(
            key=str(row.pk),
            at=row.at.isoformat(),
            who=f"{row.actor_name or 'system'} ({row.get_interface_display()})",
            what=_deed(row),
            url="",
            note=" – ".join(filter(None, (_difference(row), row.reason))),
        )
        for row in found[:limit]
    ]


def _deed(entry: AuditEntry) -> str:
    """What was done, in words: “bound service web1 to vserver web”."""
    verb, about = entry.get_verb_display(), f"{entry.kind} {entry.object_name}"
    joint = {AuditVerb.BIND: "to", AuditVerb.UNBIND: "from"}.get(AuditVerb(entry.verb))
    bound: dict[str, Any] = entry.after or entry.before or {}
    for kind in ("service", "monitor"):
        if joint and kind in bound:
            return f"{verb} {kind} {bound[kind]} {joint} {about}"
    return f"{verb} {about}".strip()


def _difference(entry: AuditEntry) -> str:
    """Which fields changed, or how it was bound, in words."""
    if entry.verb == AuditVerb.BIND:
        bound: dict[str, Any] = entry.after or {}
        return ", ".join(f"{name} {value}" for name, value in bound.items() if name not in {"service", "monitor"})
    if not isinstance(entry.before, dict) or not isinstance(entry.after, dict):
        return ""
    before: dict[str, Any] = entry.before
    return ", ".join(
        f"{name}: {before.get(name)} → {value}"
        for name, value in entry.after.items()
        if before.get(name) != value and name not in {"version", "updated_at", "created_at"}
    )


def overview() -> Overview:
    """Everything the dashboard shows; twelve queries."""
    world = load_world()
    vservers = by_state([vserver_row(world, row) for row in world.vservers.values()])
    services = by_state([service_row(world, row) for row in world.services.values()])
    servers = [server_row(world, row) for row in world.servers.values()]
    directors = [director_row(status, world.now) for status in world.directors]
    unbound = {str(pk) for pk in world.services if not world.bindings_of_service[pk]}
    return Overview(
        now=world.now.isoformat(),
        problems=problems(vservers, services, servers, directors, spare=unbound),
        vservers=vservers,
        services=services,
        servers=servers,
        monitors=[monitor_row(world, row) for row in world.monitors.values()],
        directors=directors,
        reasons=reason_rows(world),
        transitions=transition_rows(),
        changes=change_rows(),
        counters=[
            CountersRow(director=row.director, taken_at=row.taken_at.isoformat(), payload=row.payload)
            for row in world.counters
        ],
    )


def by_state(rows: list[Any]) -> list[Any]:
    """Problems first, then by name."""
    return sorted(rows, key=lambda row: (STATE_ORDER.get(row["state"], 9), row["name"].casefold()))


@dataclass(frozen=True)
class Listing:
    """Rows of one kind of object, filtered and sorted, of ``total``."""

    rows: list[dict[str, Any]]
    total: int


ROWS: dict[str, Callable[[World], list[Any]]] = {
    "servers": lambda world: [server_row(world, row) for row in world.servers.values()],
    "services": lambda world: [service_row(world, row) for row in world.services.values()],
    "vservers": lambda world: [vserver_row(world, row) for row in world.vservers.values()],
    "monitors": lambda world: [monitor_row(world, row) for row in world.monitors.values()],
}


def listing(kind: str, *, search: str = "", state: str = "", sort: str = "") -> Listing:
    """Rows of a list page; ten queries.

    ``search``: every word must occur in some text of the row. ``sort``: a field, with ``-`` for descending.
    """
    rows = ROWS[kind](load_world())
    total = len(rows)
    for word in search.casefold().split():
        rows = [row for row in rows if word in _searchable(row)]
    if state:
        rows = [row for row in rows if row["state"] == state]
    name = sort.removeprefix("-")
    if not name or not rows or name not in rows[0]:
        return Listing(by_state(rows), total)
    rows.sort(key=lambda row: _sort_key(row[name], row["name"]), reverse=sort.startswith("-"))
    return Listing(rows, total)


def _searchable(row: dict[str, Any]) -> str:
    texts = (
        str(value) for name, value in row.items() if name not in {"key", "url", "server_url"} and value is not None
    )
    return "\n".join(texts).casefold()


def _sort_key(value: Any, name: str) -> tuple[Any, ...]:
    """Numbers by size, states by urgency, addresses by octets, text without case; nothing comes first."""
    if value is None:
        return (0, 0, name)
    if isinstance(value, int | float):
        return (1, value, name)
    if value in STATE_ORDER:
        return (1, STATE_ORDER[value], name)
    try:
        address = ip_address(value)
    except ValueError:
        return (2, value.casefold(), name)
    return (1, (address.version << 128) + int(address), name)


def database_answers() -> None:
    """Raise ``django.db.Error`` when the database does not answer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
