"""A director without a kernel: maps, links and neighbours in memory; tests/forwarder.py says where a packet goes."""

from __future__ import annotations

import errno
import random
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from dataplane.forwarding import Forwarding, Mode, Wish
from dataplane.ports import Interface, Neighbour, ProbeRoute
from dataplane.steps import Delete, Put, Step, Table, entries
from dataplane.tables import Count, Counters, ForwarderSettings, IPAddress, Reason, Tables
from tests.forwarder import Packet, Verdict, probe, where

__all__ = ["FakeLinks", "FakeMaps", "FakeNeighbours", "FlakyMaps", "Packet", "Verdict", "perform", "probe", "where"]


class FakeMaps:
    """The forwarder's maps as :class:`dataplane.ports.Maps` has them, with counters for packets sent through."""

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = deepcopy(tables) if tables else Tables()
        self.steps: list[Step] = []
        self.vserver_counts: dict[int, Count] = {}
        self.service_counts: dict[int, Count] = {}
        self.reason_counts = dict.fromkeys(Reason, Count())
        self.flow_counts: dict[tuple[int, int], int] = {}

    def read(self) -> Tables:
        return deepcopy(self.tables)

    def apply(self, step: Step) -> None:
        self.steps.append(step)
        perform(self.tables, step)

    def put_rings(self, steps: Sequence[Step]) -> int:
        for done, step in enumerate(steps):
            try:
                self.apply(step)
            except OSError:
                return done
        return len(steps)

    def counters(self) -> Counters:
        vserver_ids = {entry.vserver_id for entry in self.tables.vservers.values()}
        return Counters(
            {number: self.vserver_counts.get(number, Count()) for number in vserver_ids},
            {number: self.service_counts.get(number, Count()) for number in self.tables.services},
            dict(self.reason_counts),
        )

    def flows(self) -> dict[tuple[int, int], int]:
        return dict(self.flow_counts)

    def clear_counters(self, *, vservers: Collection[int] = (), services: Collection[int] = ()) -> None:
        for number in vservers:
            self.vserver_counts.pop(number, None)
        for number in services:
            self.service_counts.pop(number, None)

    def send(self, packet: Packet, length: int = 64) -> Verdict:
        """Pass a frame of ``length`` bytes through the model and count it."""
        verdict = where(self.tables, packet)
        _count(self.reason_counts, verdict.reason, length)
        if verdict.reason is Reason.FORWARDED:
            _count(self.vserver_counts, _kernel_id(self.tables, verdict.vserver), length)
            services = {entry.config_id: number for number, entry in self.tables.services.items()}
            _count(self.service_counts, services[verdict.service], length)
        return verdict


def perform(tables: Tables, step: Step) -> None:
    """Change tables as the kernel would: put over what is there and delete of what is absent succeed."""
    if step.table is Table.SETTINGS:
        tables.settings = step.value if isinstance(step, Put) else ForwarderSettings()
    elif isinstance(step, Put):
        entries(tables, step.table)[step.key] = step.value
    elif isinstance(step, Delete):
        entries(tables, step.table).pop(step.key, None)


def _kernel_id(tables: Tables, config_id: int) -> int:
    return next(entry.vserver_id for entry in tables.vservers.values() if entry.config_id == config_id)


def _count(counts: dict[Any, Count], key: int, length: int) -> None:
    old = counts.get(key, Count())
    counts[key] = Count(old.packets + 1, old.bytes + length)


class FlakyMaps(FakeMaps):
    """Maps that refuse a step with probability ``failure``; half of the refused steps take effect all the same."""

    def __init__(self, seed: int, failure: float, tables: Tables | None = None) -> None:
        super().__init__(tables)
        self.random = random.Random(seed)
        self.failure = failure
        self.failures = 0

    def apply(self, step: Step) -> None:
        if self.random.random() < self.failure:
            self.failures += 1
            if self.random.random() < 0.5:
                super().apply(step)
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        super().apply(step)


@dataclass(slots=True)
class FakeLinks:
    """Interfaces that a test sets up; what was attached, announced and asked for is kept."""

    present: list[Interface] = field(default_factory=list)
    attached: set[int] = field(default_factory=set)
    probe_device: Interface | None = None
    probe_routes: tuple[ProbeRoute, ...] = ()
    announced: list[tuple[int, IPAddress]] = field(default_factory=list)
    solicited: dict[int, frozenset[IPAddress]] = field(default_factory=dict)
    xdp_capable: set[int] = field(default_factory=set)
    wishes: list[Wish] = field(default_factory=list)

    def add(self, ifindex: int, name: str, mac: bytes, *addresses: str, up: bool = True) -> Interface:
        """Add an interface with addresses written as in ``10.77.0.1/24``."""
        parsed: tuple[IPv4Interface | IPv6Interface, ...] = tuple(ip_interface(text) for text in addresses)
        item = Interface(ifindex, name, mac, up, parsed)
        self.present.append(item)
        return item

    def set_up(self, ifindex: int, up: bool) -> None:
        """Bring an interface up or down."""
        self.present = [replace(item, up=up) if item.ifindex == ifindex else item for item in self.present]

    def interfaces(self) -> tuple[Interface, ...]:
        return tuple(self.present)

    def ensure_attached(self, ifindexes: Collection[int]) -> list[str]:
        missing = [index for index in ifindexes if index not in {item.ifindex for item in self.present}]
        if missing:
            raise OSError(errno.ENODEV, f"No such device: ifindex {missing[0]}")
        done = [f"attached to ifindex {index}" for index in sorted(set(ifindexes) - self.attached)]
        done += [f"detached from ifindex {index}" for index in sorted(self.attached - set(ifindexes))]
        self.attached = set(ifindexes)
        return done

    def ensure_modes(self, ifindexes: Collection[int], wish: Wish) -> tuple[list[str], Mapping[int, Forwarding]]:
        """XDP where it is wished and ``xdp_capable``, once all interfaces of services are."""
        self.wishes.append(wish)
        capable = self.xdp_capable if wish.mode is not Mode.TC and wish.egress <= self.xdp_capable else set()
        refused = wish.mode is Mode.XDP
        return [], {
            index: Forwarding(Mode.XDP, "") if index in capable else Forwarding(Mode.TC, "no XDP", refused)
            for index in ifindexes
        }

    def ensure_probe_device(self, routes: Collection[ProbeRoute]) -> Interface:
        if self.probe_device is None:
            self.probe_device = Interface(99, "probe0", bytes.fromhex("020000000099"), True, ())
        self.probe_routes = tuple(routes)
        return self.probe_device

    def announce(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        self.announced += [(ifindex, address) for address in addresses]

    def ensure_solicited(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        self.solicited[ifindex] = frozenset(addresses)


@dataclass(slots=True)
class FakeNeighbours:
    """Hosts that answer (``hosts``), those that the kernel gave up on (``silent``), and which pairs are watched."""

    hosts: dict[tuple[int, IPAddress], bytes] = field(default_factory=dict)
    silent: set[tuple[int, IPAddress]] = field(default_factory=set)
    watched: frozenset[tuple[int, IPAddress]] = frozenset()

    def watch(self, targets: Collection[tuple[int, IPAddress]]) -> None:
        self.watched = frozenset(targets)

    def table(self) -> dict[tuple[int, IPAddress], Neighbour]:
        return {pair: self.entry(pair) for pair in self.watched}

    def entry(self, pair: tuple[int, IPAddress]) -> Neighbour:
        """The entry as the kernel would have it if the pair were watched."""
        failed = pair in self.silent
        return Neighbour(*pair, mac=None if failed else self.hosts.get(pair), failed=failed)
