"""Rows that follow from the bindings: a probe address for each VIP on each server, and a state for each check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import F, Q
from django.utils import timezone

from webui.actions.base import at_end
from webui.backups import primaries
from webui.choices import State
from webui.models import (
    HealthState,
    HealthTransition,
    Monitor,
    ProbeTarget,
    Server,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)

Pair = tuple[str, int]  # VIP, row id of the server
Check = tuple[int, int, int]  # row ids of target, service and monitor


def sync_checks() -> None:
    """Make the ProbeTarget and HealthState rows what the bindings ask for; those still wanted keep what they know.

    Runs inside an action's transaction, in at most eleven queries (more only where thousands of rows go in batches);
    of many actions in one change, once at its end. Raises ValidationError when a probe network has no address left.
    """
    if not at_end(_sync_checks):
        _sync_checks()


def _sync_checks() -> None:
    bindings = bound()
    targets = _sync_targets(list(dict.fromkeys((vip, server) for vip, server, _service in bindings)))
    monitors: dict[int, list[int]] = {}
    for service, monitor in ServiceMonitorBinding.objects.order_by("pk").values_list("service", "monitor"):
        monitors.setdefault(service, []).append(monitor)
    _sync_states(
        dict.fromkeys(
            (targets[vip, server], service, monitor)
            for vip, server, service in bindings
            for monitor in monitors.get(service, [])
        )
    )


def bound() -> list[tuple[str, int, int]]:
    """VIP, server and service of each binding, also of those that are there as a backup."""
    rows = {
        pk: (address, backup) for pk, address, backup in VServer.objects.values_list("pk", "address", "backup_vserver")
    }
    behind = primaries({pk: backup for pk, (_address, backup) in rows.items()})
    bindings = VServerServiceBinding.objects.order_by("pk").values_list("vserver", "service__server", "service")
    found = [(rows[vserver][0], server, service) for vserver, server, service in bindings]
    found += [
        (rows[primary][0], server, service)
        for vserver, server, service in bindings
        for primary in behind.get(vserver, [])
    ]
    return found


def _sync_targets(wanted: list[Pair]) -> dict[Pair, int]:
    """Row ids of the targets of all wanted pairs."""
    found: dict[Pair, int] = {}
    used: set[int] = set()
    obsolete: list[int] = []
    pairs = set(wanted)
    for target in ProbeTarget.objects.all():
        pair = (target.vip, target.server_id)
        # The network may have been changed by HALFPIPE_PROBE_NETWORK since.
        if pair in pairs and ip_address(target.address) in probe_network(target.vip):
            found[pair] = target.pk
            used.add(int(ip_address(target.address)))
        else:
            obsolete.append(target.pk)
    if obsolete:
        HealthState.objects.filter(target__in=obsolete).delete()
        ProbeTarget.objects.filter(pk__in=obsolete).delete()
    free = {version: _free_addresses(version, used) for version in (4, 6)}
    made = [
        ProbeTarget(vip=vip, server_id=server, address=next(free[ip_address(vip).version]))
        for vip, server in wanted
        if (vip, server) not in found
    ]
    for target in ProbeTarget.objects.bulk_create(made):
        found[target.vip, target.server_id] = target.pk
    return found


def probe_network(vip: str) -> IPv4Network | IPv6Network:
    """The network from which the probe addresses of a VIP are taken: of its own family."""
    network: IPv4Network | IPv6Network = (
        settings.PROBE_NETWORK if ip_address(vip).version == 4 else settings.PROBE_NETWORK6
    )
    return network


def _free_addresses(version: int, used: set[int]) -> Iterator[str]:
    """Free host addresses, lowest first: neither the first (network, or subnet-router anycast) nor the last one."""
    network = settings.PROBE_NETWORK if version == 4 else settings.PROBE_NETWORK6
    first, last = int(network.network_address) + 1, int(network.broadcast_address) - 1
    for number in range(first, last + 1):
        if number not in used:
            yield str(network[number - first + 1])
    name = "HALFPIPE_PROBE_NETWORK" if version == 4 else "HALFPIPE_PROBE_NETWORK6"
    msg = (
        f"The probe network {network} has no free address left: each VIP needs one for each of its servers. "
        f"Set {name} to a larger network, or unbind services."
    )
    raise ValidationError(msg)


def _sync_states(wanted: Iterable[Check]) -> None:
    missing = dict.fromkeys(wanted)
    obsolete: list[int] = []
    for row, target, service, monitor in HealthState.objects.values_list("pk", "target", "service", "monitor"):
        if (target, service, monitor) in missing:
            del missing[target, service, monitor]
        else:
            obsolete.append(row)
    if obsolete:
        HealthState.objects.filter(pk__in=obsolete).delete()
    HealthState.objects.bulk_create(
        HealthState(target_id=target, service_id=service, monitor_id=monitor) for target, service, monitor in missing
    )


def forget(*, server: Server, reason: str) -> None:
    """Set everything known about a server's checks to UNKNOWN; ``reason`` goes into their history.

    They are run anew at once, as the checks see a new edition.
    """
    now = timezone.now()
    of_server = HealthState.objects.filter(target__server=server)
    known = of_server.exclude(state=State.UNKNOWN).select_related("target", "service", "monitor").order_by("pk")
    HealthTransition.objects.bulk_create(
        HealthTransition(
            at=now,
            service=state.service,
            service_name=state.service.name,
            monitor_name=state.monitor.name,
            vip=state.target.vip,
            old=state.state,
            new=State.UNKNOWN,
            reason=reason[:255],
        )
        for state in known
    )
    of_server.filter(~Q(state=State.UNKNOWN)).update(state=State.UNKNOWN, since=now)
    of_server.update(edition=F("edition") + 1, checked_at=None, recent="", response="", response_time=None)


def forget_results(monitor: Monitor) -> None:
    """Drop the latest results of a monitor's checks: they no longer count towards a change of state.

    A check under way, by the old values, will not count; the checks are run anew at once.
    """
    HealthState.objects.filter(monitor=monitor).update(edition=F("edition") + 1, recent="")
