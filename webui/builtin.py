"""Rows that every installation has: its own row, and the two fixed monitors."""

from __future__ import annotations

from typing import Any

from django.apps import apps as current_apps

PING_DEFAULT = "ping-default"
TCP_DEFAULT = "tcp-default"

# Timings are NetScaler's defaults, which the model has.
BUILT_IN_MONITORS = {PING_DEFAULT: "PING", TCP_DEFAULT: "TCP"}


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
