"""One function for each kind of row: from configuration and state to what pages and messages show."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from django.urls import get_script_prefix, reverse

from webui.choices import AdminState, State
from webui.guards import GUARDS, last_moved
from webui.models import DataplaneStatus, Monitor, Server, Service, VServer
from webui.models.fields import port_text
from webui.payloads import DirectorRow, MonitorRow, ReasonRow, ServerRow, ServiceRow, VServerRow
from webui.stale import runs
from webui.world import World, is_stale

STALE = "STALE"  # in the columns that say whether there are new results

# Names of dataplane.tables.Reason, in words.
REASON_WORDS = {
    "FORWARDED": "forwarded to a server",
    "ARP_ANSWERED": "ARP request for a VIP answered",
    "ND_ANSWERED": "neighbour solicitation for a VIP answered",
    "PROBE_SENT": "health check sent",
    "PROBE_ANSWERED": "health check answered",
    "PING_ANSWERED": "ping of a VIP answered",
    "REJECTED_RST": "rejected by a TCP reset: no service of the virtual server is UP",
    "REJECTED_ICMP": "rejected by ICMP unreachable: no service of the virtual server is UP",
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
    "DROP_PING": "dropped: ping of a VIP that does not answer",
    "DROP_QUOTATION": "dropped: ICMP error about no packet that a server could have sent",
    "DROP_LOOP": "dropped: came back from a server or from the director itself, a loop",
    "DROP_TTL": "dropped: its time to live is used up",
    "DROP_SYN_RATE": "dropped: more SYNs than the virtual server takes",
    "DROP_SYN_SOURCE": "dropped: more SYNs from one network than the virtual server takes",
}


def endpoint(address: str, port: int, port_end: int = 0) -> str:
    """``address:port`` with brackets round IPv6 (RFC 3986), or ``address:first-last``."""
    host = f"[{address}]" if ip_address(address).version == 6 else address
    return f"{host}:{port_text(port, port_end)}"


def iso(at: datetime | None) -> str | None:
    """ISO 8601, or None."""
    return at.isoformat() if at else None


def url_of(kind: str, pk: int | None) -> str:
    """Address of the object's page; empty when the object is gone."""
    return f"{_list_url(kind, get_script_prefix())}{pk}/" if pk else ""


@lru_cache(maxsize=64)
def _list_url(kind: str, _prefix: str) -> str:
    return reverse("list", args=[kind])  # of ten thousand objects it is the same


def vserver_row(world: World, vserver: VServer) -> VServerRow:
    """A virtual server with its state and traffic."""
    verdict = world.vserver_state(vserver)
    verdicts = world.verdicts(vserver).values()
    up = sum(one.state == State.UP for one in verdicts)
    return VServerRow(
        key=str(vserver.pk),
        url=url_of("vservers", vserver.pk),
        name=vserver.name,
        state=verdict.state,
        state_reason=verdict.reason,
        endpoint=endpoint(vserver.address, vserver.port, vserver.port_end),
        service_type=vserver.service_type,
        method=vserver.get_lb_method_display(),
        services=f"{up}/{len(verdicts)}",
        services_up=up,
        services_total=len(verdicts),
        kept=sum(one.state == State.FAIL_OPEN for one in verdicts),
        spark="",
        **world.rates("vservers", vserver.pk),
    )


def service_row(world: World, service: Service) -> ServiceRow:
    """A service with its worst state over its VIPs, its weights and the way to its server."""
    verdict = world.service_state(service)
    stale = world.stale(service)
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
        checks=STALE if stale else "CURRENT" if _is_checked(world, service) else "",
        checks_note=_stale_note(world, service, len(stale)),
        leaves_at=iso(verdict.until) if verdict.state != State.OUT_OF_SERVICE else None,
        **world.rates("services", service.pk),
    )


def _is_checked(world: World, service: Service) -> bool:
    """Whether any check of the service that is to run has had a result."""
    found = (
        world.health.get((service.pk, vip, bound.monitor_id))
        for vip in world.vips(service)
        for bound in world.monitors_of[service.pk]
        if runs(bound, world.now)
    )
    return any(row is not None and row.pk in world.checked for row in found)


def _stale_note(world: World, service: Service, stale: int) -> str:
    """How many checks have no new result; empty for none."""
    if not stale:
        return ""
    return f"{stale} of {len(world.vips(service)) * len(world.monitors_of[service.pk])} without a new result"


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
        state_reason=_server_reason(server, world.now),
        mac=", ".join(dict.fromkeys(path.mac for path in paths if path.mac)),
        interface=", ".join(dict.fromkeys(path.interface for path in paths if path.interface)),
        path=refusal if paths else "no director has looked for it yet",
        eligible=eligible,
        services=len(world.services_of[server.pk]),
    )


def _server_reason(server: Server, now: datetime) -> str:
    if server.state == AdminState.ENABLED:
        return ""
    if server.out_of_service_at is not None and server.out_of_service_at > now:
        return f"its services go out of service at {server.out_of_service_at:%Y-%m-%d %H:%M:%S} UTC"
    if server.out_of_service_at is None and server.graceful:
        return "its services go out of service when their last flows have ended"
    return "its services are out of service"


def monitor_row(world: World, monitor: Monitor) -> MonitorRow:
    """A monitor with the number of services that it checks."""
    services, failing = world.checks_by(monitor.pk)
    return monitor_row_of(monitor, services, failing)


def monitor_row_of(monitor: Monitor, services: int, failing: int) -> MonitorRow:
    """A monitor that checks this many services, of which so many fail."""
    return MonitorRow(
        key=str(monitor.pk),
        url=url_of("monitors", monitor.pk),
        name=monitor.name,
        state=monitor.state,
        state_reason="built in" if monitor.built_in else "",
        monitor_type=monitor.monitor_type,
        timing=f"every {monitor.time_text('interval')}, {monitor.time_text('resp_timeout')} to answer, "
        f"DOWN after {monitor.retries}",
        services=services,
        failing=failing,
    )


def modes_in_words(interfaces: list[dict[str, Any]], *, refused: bool = False) -> str:
    """What forwards on each interface and why; ``refused``: only those where XDP was demanded and cannot be had."""
    return "; ".join(
        f"{item['name']} {item['mode']}: {item['mode_reason']}"
        for item in interfaces
        if item.get("mode") and (item.get("mode_refused") or not refused)
    )


def director_row(status: DataplaneStatus, now: datetime, current: int) -> DirectorRow:
    """What a director reports about itself, and whether it still does; ``current`` is the latest revision."""
    newest = max(status.wanted_revision, current)
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
        revision=str(status.applied_revision),
        revision_note="the current one" if status.applied_revision >= newest else f"the current one is {newest}",
        applied_at=iso(status.applied_at),
        mode=status.mode,
        mode_reason=modes_in_words(status.interfaces),
        mode_refused=modes_in_words(status.interfaces, refused=True),
        heartbeat_at=iso(status.heartbeat_at),
        round=f"{status.round_ms:.0f} ms" + (f": {status.round_summary}" if status.round_summary else ""),
        drift=status.drift,
        last_error=status.last_error,
    )


def _moved(world: World, name: str) -> str:
    at = last_moved(world, name) if name in GUARDS else None
    return f"moved at {at:%Y-%m-%d %H:%M:%S} UTC: see the problems" if at else ""


def reason_rows(world: World) -> list[ReasonRow]:
    """Why packets were forwarded, passed or dropped, summed over the directors."""
    names = dict.fromkeys(name for row in world.counters for name in row.payload.get("reasons", {}))
    rows = []
    for name in names:
        rates = world.rates("reasons", name)
        words = REASON_WORDS.get(name.upper(), name)
        rows.append(
            ReasonRow(
                key=name,
                reason=words,
                note=_moved(world, name),
                packets=rates["packets"],
                packets_per_second=rates["packets_per_second"],
            )
        )
    return rows


def drop_rows(world: World, vserver: VServer) -> list[dict[str, Any]]:
    """Why packets of a vserver's clients were dropped, most first, summed over the directors."""
    drops = sorted(world.drops(vserver.pk).items(), key=lambda item: (-item[1], item[0]))
    return [
        {"key": name, "reason": REASON_WORDS.get(name, name).removeprefix("dropped: "), "packets": packets}
        for name, packets in drops
    ]
