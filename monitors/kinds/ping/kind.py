"""PING."""

from __future__ import annotations

from monitors.kind import Kind

KIND = Kind(
    name="PING",
    label="PING (ICMP echo)",
    success="An ICMP echo request to the VIP on the server is answered.",
    transport="",
    command="ping -c 3 {address}",
)
