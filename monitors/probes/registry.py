"""The kinds of probes. A new kind: a module beside this one, a line here, a value in webui.choices.MonitorType."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from monitors.probes import icmp, tcp
from monitors.spec import ProbeResult, ProbeSpec

Probe = Callable[[ProbeSpec], Awaitable[ProbeResult]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A probe, and whether it goes to a port."""

    probe: Probe
    uses_port: bool


KINDS: dict[str, Kind] = {
    "PING": Kind(icmp.probe, uses_port=False),
    "TCP": Kind(tcp.probe, uses_port=True),
}


async def run(spec: ProbeSpec) -> ProbeResult:
    """Run the probe of ``spec.kind``; raises KeyError for a kind that is not registered."""
    return await KINDS[spec.kind].probe(spec)
