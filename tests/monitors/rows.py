"""Rows for the tests of the checks, made without the console."""

from __future__ import annotations

import itertools
from typing import Any

from webui.models import HealthState, Monitor, ProbeTarget, Server, Service, ServiceMonitorBinding

VIP = "10.0.0.10"
_numbers = itertools.count(1)


def monitor(**values: Any) -> Monitor:
    number = next(_numbers)
    defaults: dict[str, Any] = {"name": f"monitor{number}", "monitor_type": "TCP", "dest_port": 80}
    return Monitor.objects.create(**(defaults | values))


def service(**values: Any) -> Service:
    number = next(_numbers)
    server = Server.objects.create(name=f"server{number}", address=f"10.1.{number // 250}.{number % 250 + 1}")
    return Service.objects.create(**({"name": f"service{number}", "server": server} | values))


def target(of: Service, address: str | None = None, vip: str = VIP) -> ProbeTarget:
    number = next(_numbers)
    address = address or f"198.18.{number // 250}.{number % 250 + 1}"
    return ProbeTarget.objects.create(vip=vip, server=of.server, address=address)


def health(
    *,
    of: Service | None = None,
    by: Monitor | None = None,
    at: ProbeTarget | None = None,
    binding: str = "ENABLED",
    **values: Any,
) -> HealthState:
    """A health state with everything that it needs; each part may be given."""
    of = of or service()
    by = by or monitor()
    at = at or target(of)
    ServiceMonitorBinding.objects.get_or_create(service=of, monitor=by, defaults={"state": binding})
    return HealthState.objects.create(target=at, service=of, monitor=by, **values)
