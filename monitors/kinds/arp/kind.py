"""ARP."""

from __future__ import annotations

from monitors.kind import Kind

KIND = Kind(
    name="ARP",
    label="ARP (MAC of the server)",
    success="The server's MAC is in the director's neighbour table and answered when the kernel last asked.",
    transport="",
    command="ip -s neighbour show",
    looks_at_server=True,
)
