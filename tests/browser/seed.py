"""A small installation in the middle of an incident: what the console must show well."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from tests import factories
from webui import live
from webui.actions import servicegroups, services
from webui.choices import State
from webui.models import (
    DataplaneStatus,
    DirectorCounters,
    HealthState,
    HealthTransition,
    Installation,
    ServerPath,
    Service,
    VServer,
)

DIRECTOR = "director1"


def incident() -> None:
    """Three servers behind two VIPs; one service is DOWN, one server unreachable; a director reports."""
    now = timezone.now()
    machines = [factories.server(number) for number in (1, 2, 3)]
    http = factories.monitor("tcp-80")
    everything = [factories.service(server) for server in machines]
    for one in everything:
        services.bind_monitor(factories.SYSTEM, one, http)
    web = [factories.service(server, name=f"web_{server.name}", service_type="TCP", port=80) for server in machines[:2]]
    factories.vserver(*everything)
    factories.vserver(*web, name="vserver_web", address="10.77.0.20", service_type="TCP", port=80)
    health = {"state": State.UP, "response": "TCP handshake done", "response_time": 0.0007, "recent": "PPPPPPPP"}
    HealthState.objects.update(checked_at=now, since=now - timedelta(hours=5), **health)
    HealthState.objects.filter(service=everything[1]).update(
        state=State.DOWN, response="no answer within 1 s", recent="PPPPPFFF", since=now - timedelta(minutes=4)
    )
    HealthTransition.objects.create(
        at=now - timedelta(minutes=4),
        service=everything[1],
        service_name=everything[1].name,
        monitor_name=http.name,
        vip="10.77.0.10",
        old=State.UP,
        new=State.DOWN,
        reason="no answer within 1 s",
    )
    for server in machines[:2]:
        mac = f"02:00:00:00:00:{server.pk:02x}"
        ServerPath.objects.create(director=DIRECTOR, server=server, eligible=True, mac=mac, interface="eth1")
    ServerPath.objects.create(director=DIRECTOR, server=machines[2], reason="no answer to ARP on eth1")
    director_reports()


def group() -> None:
    """A service group beside the incident: two of its servers, a monitor, a virtual server; one member is DOWN."""
    made = servicegroups.create(factories.SYSTEM, {"name": "zone", "service_type": "TCP"})
    servicegroups.bind_members(factories.SYSTEM, made, ["Server1", "Server2"], 443)
    servicegroups.bind_monitor(factories.SYSTEM, made, "tcp-80", 2)
    vserver = factories.vserver(name="vserver_zone", address="10.77.0.30", service_type="TCP", port=443)
    servicegroups.bind_to_vserver(factories.SYSTEM, vserver, made)
    HealthState.objects.filter(service__name="zone_Server1_443").update(state=State.UP, response="TCP handshake done")
    HealthState.objects.filter(service__name="zone_Server2_443").update(state=State.DOWN, response="refused")


def director_reports(rate: float = 1234.5) -> None:
    """Heartbeat and counters of this moment, and the event that tells of them."""
    now = timezone.now()
    revision = Installation.objects.get(pk=1).revision
    DataplaneStatus.objects.update_or_create(
        director=DIRECTOR,
        defaults={
            "wanted_revision": revision,
            "applied_revision": revision,
            "heartbeat_at": now,
            "applied_at": now,
            "round_ms": 12,
            "round_summary": "2 rings replaced",
        },
    )
    payload = counters(rate)
    DirectorCounters.objects.update_or_create(director=DIRECTOR, defaults={"taken_at": now, "payload": payload})
    live.publish({"type": "live.counters", "director": DIRECTOR, "taken_at": now.isoformat(), "payload": payload})


def counters(rate: float) -> dict[str, Any]:
    """A payload in which every object has this many packets per second."""
    one = {"packets": 1_234_567, "bytes": 98_765_432, "packets_per_second": rate, "bits_per_second": rate * 640}
    return {
        "vservers": {str(pk): one for pk in VServer.objects.values_list("pk", flat=True)},
        "services": {str(pk): one for pk in Service.objects.values_list("pk", flat=True)},
        "reasons": {
            "FORWARDED": {"packets": 2_469_134, "packets_per_second": rate * 2},
            "DROP_NO_VSERVER": {"packets": 42, "packets_per_second": 0.4},
        },
    }
