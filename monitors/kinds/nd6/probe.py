"""ND6: the kernel asks, and this reads what it knows of the server's own address."""

from __future__ import annotations

from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.neighbour import check


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.server`` is no IP address."""
    return await check(spec, version=6)
