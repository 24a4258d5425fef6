"""ND6."""

from __future__ import annotations

from monitors.kind import Kind

KIND = Kind(
    name="ND6",
    label="ND6 (MAC of the server, IPv6)",
    success="The server's MAC is in the director's neighbour table and answered when the kernel last asked.",
    transport="",
    command="ip -s neighbour show",
    looks_at_server=True,
)
