"""Rows that every installation has: its own row, and the two fixed monitors."""

from __future__ import annotations

from typing import Any

from django.apps import apps as current_apps

from webui.choices import ServiceType

PING_DEFAULT = "ping-default"
TCP_DEFAULT = "tcp-default"

# Timings are NetScaler's defaults, which the model has.
BUILT_IN_MONITORS = {PING_DEFAULT: "PING", TCP_DEFAULT: "TCP"}


def default_monitor_name(service_type: str, port: int) -> str:
    """Name of the monitor that stands in while no other is bound; port 0 is any port."""
    # A handshake needs a port: a TCP service of any port gets the echo instead.
    return TCP_DEFAULT if service_type == ServiceType.TCP and port else PING_DEFAULT


def make_built_in_rows(apps: Any = current_apps, using: str = "default", **_signal: Any) -> None:
    """After each migrate and flush: make what is missing, change nothing that is there.

    A handler of ``post_migrate`` rather than a migration, so that an emptied database gets them back too.
    """
    try:
        monitors = apps.get_model("webui", "Monitor")
        installations = apps.get_model("webui", "Installation")
    except LookupError:  # migrated back to before these tables
        return
    installations.objects.using(using).get_or_create(pk=1)
    for name, monitor_type in BUILT_IN_MONITORS.items():
        monitors.objects.using(using).get_or_create(
            name=name, defaults={"monitor_type": monitor_type, "built_in": True}
        )
