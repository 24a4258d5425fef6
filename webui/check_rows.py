"""A check of a service at a VIP as pages show it, and how to do the same by hand."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from monitors.kind import Secure
from monitors.registry import KINDS
from webui.choices import State
from webui.models import ServiceMonitorBinding
from webui.rows import STALE, endpoint, iso, url_of
from webui.stale import is_overdue
from webui.world import World

BY_HAND_WITH_TLS = "openssl s_client -connect {endpoint}"


def health_row(world: World, binding: ServiceMonitorBinding, vip: str) -> dict[str, Any]:
    """State and latest result of a monitor for a service at one VIP."""
    service = binding.service
    health = world.health.get((service.pk, vip, binding.monitor_id))
    checked_at = world.checked.get(health.pk) if health else None
    overdue = health is not None and is_overdue(binding, health, checked_at, world.now)
    row: dict[str, Any] = {
        "vip": vip,
        "monitor": binding.monitor.name,
        "monitor_url": url_of("monitors", binding.monitor_id),
        "service": service.name,
        "service_url": url_of("services", service.pk),
        "state": health.state if health else State.UNKNOWN,
        "response": (health.response if health else "") or "not checked yet",
        "since": iso(health.since) if health else None,
        "checked_at": iso(checked_at),
        "freshness": STALE if overdue else "CURRENT" if checked_at else "",
        "recent": health.recent[-16:] if health else "",
        "command": probe_command(binding, health.target.address) if health else "",
        "probe": "Probe now" if health else "",
        "probe_url": probe_url(binding.monitor_id, service.pk, health.target_id) if health else "",
    }
    if health and health.response_time is not None and " ms" not in row["response"]:  # many say it themselves
        row["response"] += f" ({health.response_time * 1000:.1f} ms)"
    return row


def probe_url(monitor: int, service: int, target: int) -> str:
    """The page that tries a monitor on a service at a VIP."""
    return f"{reverse('probe', args=[monitor])}?choice={service}-{target}"


def probe_command(binding: ServiceMonitorBinding, address: str) -> str:
    """A command for the director's shell that does what the monitor does: reach the VIP on this very server."""
    monitor, service = binding.monitor, binding.service
    kind = monitor.kind or KINDS["PING"]
    port = kind.port(
        wanted=monitor.dest_port,
        service_port=service.port,
        service_type=service.service_type,
        secure=monitor.secure,
    )
    if not port:
        kind = KINDS["PING"]
    wanted = BY_HAND_WITH_TLS if monitor.secure and kind.secure is Secure.OPTIONAL else kind.command
    return wanted.format(address=address, endpoint=endpoint(address, port))
