"""The forwarder's maps behind :class:`dataplane.ports.Maps`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from dataplane import layout, layout_telemetry
from dataplane.kernel.libbpf import Map, possible_cpus
from dataplane.kernel.rings import Rings
from dataplane.steps import Delete, Put, Step, Table
from dataplane.tables import Count, Counters, Reason, Tables, VServerEntry, VServerKey

VSERVER_STATS = "vserver_stats"
SERVICE_STATS = "service_stats"
REASONS = "reasons"
GENERATION = "generation"
RANGE_VSERVERS = "range_vservers"
FLOWS = "flows"
EMBRYOS = "embryos"
VSERVER_DROPS = "vserver_drops"
VSERVER_ROWS = "vserver_rows"
VSERVER_BEGUN = "vserver_begun"
SERVICE_BEGUN = "service_begun"
_SETTINGS_KEY = bytes(4)

_PACK: dict[Table, tuple[Callable[[Any], bytes], Callable[[Any], bytes]]] = {
    Table.SETTINGS: (layout.pack_id, layout.pack_settings),
    Table.INTERFACES: (layout.pack_id, layout.pack_interface),
    Table.VIPS: (layout.pack_address, layout.pack_vip),
    Table.VSERVERS: (layout.pack_vserver_key, layout.pack_vserver),
    Table.PORT_PREFIXES: (layout.pack_port_prefix, layout.pack_port_range),
    Table.SERVICES: (layout.pack_id, layout.pack_service),
    Table.POLICIES: (layout.pack_id, layout.pack_policy),
    Table.CLOSED: (layout.pack_closed_key, layout.pack_closed),
    Table.PROBES_OUT: (layout.pack_address, layout.pack_probe_out),
    Table.PROBES_IN: (layout.pack_probe_in_key, layout.pack_address),
}
# Entries of an array cannot be removed; zeros mean "not in use".
_ARRAYS = {Table.SETTINGS, Table.SERVICES, Table.POLICIES}
# The forwarder remembers look-ups in these (bpf/find.h)
_REMEMBERED = {
    Table.SETTINGS,
    Table.INTERFACES,
    Table.VIPS,
    Table.VSERVERS,
    Table.PORT_PREFIXES,
    Table.POLICIES,
}
# What a frame on its way takes from here next, once it has a vserver
_NEEDED_BY_VSERVER = {Table.RINGS, Table.POLICIES}


class KernelMaps:
    """Implements :class:`dataplane.ports.Maps` on opened maps, by name."""

    def __init__(self, maps: dict[str, Map]) -> None:
        self._maps = maps
        self._rings = Rings(maps[Table.RINGS])
        self._cpus = possible_cpus()
        self._stat_size = layout_telemetry.COUNTER_SIZE * self._cpus
        self._drops_size = layout_telemetry.VSERVER_DROPS_SIZE * self._cpus
        self._begun_size = layout_telemetry.BEGUN_SIZE * self._cpus
        self._old_vservers = True  # whether a frame on its way may have found a vserver that is no more as it was
        # The process before us may have been killed between a change and its new generation
        self._new_generation()

    def read(self) -> Tables:
        """All tables as the kernel holds them now. Raises OSError."""
        tables = Tables()
        settings = self._maps[Table.SETTINGS].lookup(_SETTINGS_KEY)
        if settings is not None:
            tables.settings = layout.unpack_settings(settings)
        for key, value in self._maps[Table.INTERFACES].items():
            tables.interfaces[layout.unpack_id(key)] = layout.unpack_interface(value)
        for key, value in self._maps[Table.VIPS].items():
            tables.vips[layout.unpack_address(key)] = layout.unpack_vip(value)
        tables.vservers = self._vservers()
        for key, value in self._maps[Table.PORT_PREFIXES].items():
            tables.port_prefixes[layout.unpack_port_prefix(key)] = layout.unpack_port_range(value)
        tables.services = layout.services_in_use(self._maps[Table.SERVICES].dump()[1])
        versions = {entry.vserver_id: key.address.version for key, entry in tables.vservers.items()}
        for vserver_id, policy in layout.policies_in_use(self._maps[Table.POLICIES].dump()[1]).items():
            tables.policies[vserver_id] = layout.unpack_policy(policy, versions.get(vserver_id, 6))
        for key, value in self._maps[Table.CLOSED].items():
            tables.closed[layout.unpack_closed_key(key)] = layout.unpack_closed(value)
        for key, value in self._maps[Table.PROBES_OUT].items():
            tables.probes_out[layout.unpack_address(key)] = layout.unpack_probe_out(value)
        for key, value in self._maps[Table.PROBES_IN].items():
            tables.probes_in[layout.unpack_probe_in_key(key)] = layout.unpack_address(value)
        tables.rings = self._rings.read()
        return tables

    def _vservers(self) -> dict[VServerKey, VServerEntry]:
        """Entries of both maps of vservers."""
        found: dict[VServerKey, VServerEntry] = {}
        for name, unpack in ((Table.VSERVERS, layout.unpack_vserver_key), (RANGE_VSERVERS, layout.unpack_range_key)):
            for key, value in self._maps[name].items():
                vserver_key = unpack(key)
                found[vserver_key] = layout.unpack_vserver(value, vserver_key)
        return found

    def apply(self, step: Step) -> None:
        """Carry out one step.

        Raises:
            OSError: the kernel refused.
            ValueError: the step's key or value does not fit; nothing was changed.

        """
        if isinstance(step, Delete) and step.table in _NEEDED_BY_VSERVER and self._old_vservers:
            self._old_vservers = not self._rings.wait_for_readers(step.key)
        if step.table is Table.RINGS:
            if isinstance(step, Put):
                self._rings.put(step.key, step.value)
            else:
                self._rings.delete(step.key)
            return
        pack_key, pack_value = _PACK[step.table]
        opened = self._maps[step.table]
        if step.table is Table.VSERVERS and step.key.port_end:
            opened, pack_key = self._maps[RANGE_VSERVERS], layout.pack_range_key
        key = pack_key(step.key)
        if isinstance(step, Put):
            if step.table is Table.VSERVERS:  # events name the row, from the vserver's first packet on
                row = layout.pack_id(step.value.config_id)
                self._maps[VSERVER_ROWS].update(layout.pack_id(step.value.vserver_id), row)
            opened.update(key, pack_value(step.value))
        elif step.table in _ARRAYS:
            opened.update(key, bytes(opened.value_size))
        else:
            opened.delete(key)
        if step.table in _REMEMBERED:
            self._new_generation()
        if step.table is Table.VSERVERS:
            self._old_vservers = True

    def put_rings(self, steps: Sequence[Step]) -> int:
        """Carry out puts of rings with one wait for many; how many, before the kernel refused one.

        Raises ValueError when a key or a ring does not fit; nothing was changed.
        """
        return self._rings.put_many([(step.key, step.value) for step in steps if isinstance(step, Put)])

    def _new_generation(self) -> None:
        """Make the forwarder forget what it remembers of earlier look-ups."""
        opened = self._maps[GENERATION]
        number = layout.unpack_id(opened.lookup(bytes(4)) or bytes(4))
        opened.update(bytes(4), layout.pack_id((number + 1) % (1 << 32)))

    def counters(self) -> Counters:
        """Counters of every vserver and service in use, and of every reason. Raises OSError."""
        vservers = {entry.vserver_id for entry in self._vservers().values()}
        services = layout.services_in_use(self._maps[Table.SERVICES].dump()[1])
        return Counters(
            {number: self._count(VSERVER_STATS, number) for number in vservers},
            {number: self._count(SERVICE_STATS, number) for number in services},
            self.reasons(),
            {number: found for number in vservers if (found := self.drops(number))},
            self._begun(VSERVER_BEGUN, vservers),
            self._begun(SERVICE_BEGUN, services),
        )

    def _begun(self, name: str, numbers: Collection[int]) -> dict[int, int]:
        """Flows that began, of these ids: all in one call, as there may be ten thousand."""
        found = layout_telemetry.sum_begun(self._maps[name].dump(self._begun_size)[1], self._cpus)
        return {number: found[number] for number in numbers}

    def flows(self) -> dict[tuple[int, int], int]:
        """How many flows have not timed out, by vserver's row and kernel id of the service. Raises OSError."""
        found: Counter[tuple[int, int]] = Counter()
        policies = layout.policies_in_use(self._maps[Table.POLICIES].dump()[1]).values()
        idle_timeouts = dict(layout.idle_timeout(policy) for policy in policies)
        for name in (FLOWS, EMBRYOS):
            keys, values = self._maps[name].dump()
            now = time.monotonic_ns()
            found.update(layout.live_flows(keys, values, now, idle_timeouts, embryos=name == EMBRYOS))
        return dict(found)

    def drops(self, vserver_id: int) -> dict[Reason, int]:
        """How many packets of a vserver's clients were dropped, by reason; not the reasons that were not seen.

        Packets that belong to no vserver, or whose vserver was not known yet, count in :meth:`reasons` alone.
        Raises OSError.
        """
        data = self._maps[VSERVER_DROPS].lookup(layout.pack_id(vserver_id), self._drops_size)
        return layout_telemetry.sum_drops(data) if data else {}

    def reasons(self) -> dict[Reason, Count]:
        """What became of every frame. Raises OSError."""
        return {reason: self._count(REASONS, reason) for reason in Reason}

    def _count(self, name: str, index: int) -> Count:
        data = self._maps[name].lookup(layout.pack_id(index), self._stat_size)
        return layout_telemetry.sum_counters(data) if data else Count()

    def clear_counters(self, *, vservers: Collection[int] = (), services: Collection[int] = ()) -> None:
        """Set the counters of these kernel ids to zero. Raises OSError."""
        zero = bytes(self._stat_size)
        for name, ids in ((VSERVER_STATS, vservers), (SERVICE_STATS, services)):
            for number in ids:
                self._maps[name].update(layout.pack_id(number), zero, self._stat_size)
        for name, ids in ((VSERVER_BEGUN, vservers), (SERVICE_BEGUN, services)):
            for number in ids:
                self._maps[name].update(layout.pack_id(number), bytes(self._begun_size), self._begun_size)
        for number in vservers:
            self._maps[VSERVER_DROPS].update(layout.pack_id(number), bytes(self._drops_size), self._drops_size)
