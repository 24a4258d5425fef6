"""Which of the director's addresses probes leave with; pure.

A probe address is reached through the probe device. The source address must be one that the server can answer
directly, so it is taken from the interface that leads to the server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network

from dataplane.desired import Probe
from dataplane.ports import Interface, ProbeRoute
from dataplane.tables import IPAddress


def probe_routes(
    probes: Iterable[Probe], interfaces: Iterable[Interface], networks: Iterable[IPv4Network | IPv6Network]
) -> tuple[ProbeRoute, ...]:
    """One route for each probe network, and one of its own for each probe address that needs another source.

    A network of whose family no probe can be sent gets no route.
    """
    by_index = {interface.ifindex: interface for interface in interfaces}
    routes: list[ProbeRoute] = []
    probes = tuple(probes)
    for network in networks:
        sources = {
            probe.address: source
            for probe in probes
            if probe.address in network and (source := _source(probe, by_index)) is not None
        }
        if not sources:
            continue
        # The most common source serves the whole network: one route however many probes there are.
        (common, _count), *_ = sorted(Counter(sources.values()).items(), key=lambda item: (-item[1], int(item[0])))
        routes.append(ProbeRoute(str(network), common))
        routes += [
            ProbeRoute(f"{address}/{address.max_prefixlen}", source)
            for address, source in sorted(sources.items(), key=lambda item: int(item[0]))
            if source != common
        ]
    return tuple(routes)


def _source(probe: Probe, by_index: Mapping[int, Interface]) -> IPAddress | None:
    """An address of the interface in the server's subnet, or else any of the VIP's family but link-local."""
    interface = by_index.get(probe.path.ifindex) if probe.path.usable else None
    if interface is None:
        return None
    fitting = [entry for entry in interface.addresses if entry.version == probe.vip.version and not entry.is_link_local]
    for wanted in (probe.server, probe.vip):
        for entry in fitting:
            if wanted.version == entry.version and wanted in entry.network:
                return entry.ip
    return fitting[0].ip if fitting else None
