"""What a director reports, for tests of pages that compute from it."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from webui.models import DataplaneStatus, Installation, Server, ServerPath

DIRECTOR = "director1"
OWN_MAC = "02:aa:00:00:00:01"
OUT_MAC = "02:aa:00:00:00:02"


def mac_of(server: Server) -> str:
    """The server's MAC address as :func:`director` reports it."""
    return f"02:bb:00:00:00:{server.pk % 256:02x}"


def director(name: str = DIRECTOR, **values: Any) -> DataplaneStatus:
    """A director with clients on eth0, which is 198.51.100.1/24, and every server behind eth1, 10.77.0.2/24."""
    interfaces = [
        {"ifindex": 2, "name": "eth0", "mac": OWN_MAC, "up": True, "addresses": ["198.51.100.1/24"], "attached": True},
        {"ifindex": 3, "name": "eth1", "mac": OUT_MAC, "up": True, "addresses": ["10.77.0.2/24"], "attached": True},
    ]
    revision = Installation.objects.get(pk=1).revision
    given = {
        "interfaces": interfaces,
        "wanted_revision": revision,
        "applied_revision": revision,
        "heartbeat_at": timezone.now(),
    }
    for server in Server.objects.all():
        ServerPath.objects.create(director=name, server=server, eligible=True, mac=mac_of(server), interface="eth1")
    return DataplaneStatus.objects.create(director=name, **(given | values))
