"""One round: configuration and network → tables → plan → kernel. Knows ports, not the kernel or the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from dataplane.apply import apply
from dataplane.change import compile_change, resolve_change
from dataplane.compile import CompileError, compile_tables
from dataplane.desired import Configuration, DesiredState, resolve
from dataplane.forwarding import Forwarding, Wish
from dataplane.plan import plan
from dataplane.plan_text import describe
from dataplane.ports import Interface, Links, Maps, Neighbour, Neighbours
from dataplane.probing import probe_routes
from dataplane.steps import Step
from dataplane.tables import IPAddress, Tables

Entries = Mapping[tuple[int, IPAddress], Neighbour]

# The kernel asks three times, one second apart, before it calls a neighbour FAILED; until then a MAC that was good
# is better than none, so a flushed neighbour table costs no packet.
HOLD_SECONDS = 4.0
# After a start the maps of the former process stay as they are until the neighbours are known, or this is over.
FIRST_WAIT_SECONDS = 4.0
# How often all maps are read back and compared with what this process wrote; less often where reading them takes
# so long that it would cost more than a twentieth of a core.
VERIFY_SECONDS = 1.0
VERIFY_SHARE = 20


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did. ``seconds`` is its duration; ``drift`` is True when others had changed our maps.

    ``writes`` are the entries of maps that were put or removed, as far as they were tried.
    """

    desired: DesiredState
    summary: str
    error: str
    drift: bool
    seconds: float
    writes: int = 0


@dataclass(slots=True)
class Reconciler:
    """Brings the kernel to what a configuration wants; call :meth:`round` whenever anything may have changed."""

    maps: Maps
    links: Links
    neighbours: Neighbours
    wanted_interfaces: Collection[str] | None
    probe_networks: Sequence[IPv4Network | IPv6Network]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    attached: frozenset[int] = frozenset()
    forwarding: Mapping[int, Forwarding] = field(default_factory=dict)  # by ifindex
    observed: Tables = field(default_factory=Tables)
    last: DesiredState | None = None
    _first: bool = True
    _known: bool = False  # whether ``observed`` is what the maps hold
    _verify_at: float = 0.0
    _inputs: tuple[Configuration, tuple[Interface, ...], Entries] | None = None
    _settled: tuple[DesiredState, Interface | None] | None = None  # what the observed tables were compiled from
    _table: Entries = field(default_factory=dict)  # the neighbours when last looked at
    _looked_at: float = 0.0
    _held: dict[tuple[int, IPAddress], tuple[Neighbour, float]] = field(default_factory=dict)
    _announce_again: set[tuple[int, IPAddress]] = field(default_factory=set)
    _egress: tuple[object, frozenset[int]] = (None, frozenset())  # services of the tables, and where they are

    def round(self, configuration: Configuration, *, same_network: bool = False) -> Round:
        """Do all that is needed now. Raises OSError when the kernel cannot even be asked.

        ``same_network`` says that nothing is known to have happened to interfaces and neighbours: if little is new
        the kernel is not asked about them, which would take longer than all the rest. The next tick asks.
        """
        started = self.clock()
        if same_network and (done := self._quick(configuration)) is not None:
            return done
        interfaces = self.links.interfaces()
        desired = self.last = self._resolve(configuration, interfaces)
        probe, error = self._probe_device(desired)
        drift = self._read_back(news=self._settled is not None and self._settled != (desired, probe))
        wanted, small = self.observed, True
        if drift or self._settled != (desired, probe):
            changed = None if drift else self._change(desired, probe)
            wanted, refused = (changed, "") if changed is not None else self._compile(desired, probe)
            small = changed is not None
            error = refused or error
        steps = plan(wanted, self.observed) if wanted is not self.observed else []
        summary = describe(steps, self.observed)
        fresh = wanted.vips.keys() - self.observed.vips.keys()
        repairs = self._before(desired, wanted)
        failure = self._apply(steps, wanted)
        error = failure or error
        # A round that wrote something may have made room for what it had to leave out: compile once more. A small
        # change makes no room.
        self._settled = None if error or (steps and not small) else (desired, probe)
        repairs += self._attach(desired)
        self._announce(desired, fresh if not error else set())
        report = "\n".join([*repairs, summary]).strip()
        return Round(desired, report, error, drift, self.clock() - started, len(steps))

    def _quick(self, configuration: Configuration) -> Round | None:
        """A round on the network that the last one found; None when more is new than shares of services."""
        started = self.clock()
        overdue = not self._known or started >= self._verify_at + VERIFY_SECONDS
        if overdue or self._inputs is None or self._settled is None or self.last is not self._settled[0]:
            return None
        desired = resolve_change(self._inputs[0], self.last, configuration)
        wanted = compile_change(self.last, desired, self.observed) if desired is not None else None
        if desired is None or wanted is None or desired.mode is not self.last.mode:
            return None
        steps = plan(wanted, self.observed) if wanted is not self.observed else []
        summary = describe(steps, self.observed)
        error = self._apply(steps, wanted)
        self.last, self._inputs = desired, (configuration, *self._inputs[1:])
        self._settled = None if error else (desired, self._settled[1])
        return Round(desired, summary, error, False, self.clock() - started, len(steps))

    def _read_back(self, *, news: bool) -> bool:
        """Read the maps when that is due; True when they are not as this process left them.

        News does not wait for that, but for a bounded time only: it may come all the time.
        """
        started = self.clock()
        if self._known and started < self._verify_at + (VERIFY_SECONDS if news else 0):
            return False
        found = self.maps.read()
        same = found == self.observed
        drift = self._known and not same
        if not same:
            self.observed = found
        self._known = True
        self._verify_at = started + max(VERIFY_SECONDS, VERIFY_SHARE * (self.clock() - started))
        return drift

    def _change(self, desired: DesiredState, probe: Interface | None) -> Tables | None:
        """Tables for the desired state, if it differs but little from the one that was settled."""
        if self._settled is None or self._settled[1] != probe:
            return None
        return compile_change(self._settled[0], desired, self.observed)

    def _compile(self, desired: DesiredState, probe: Interface | None) -> tuple[Tables, str]:
        """Tables for the desired state; the observed ones, and why, when it cannot be compiled."""
        try:
            return (
                compile_tables(
                    desired,
                    self.observed,
                    probe_ifindex=probe.ifindex if probe else 0,
                    probe_mac=probe.mac if probe else bytes(6),
                ),
                "",
            )
        except CompileError as refused:
            # What runs goes on unchanged: half a configuration would be worse than the former one.
            return self.observed, f"Configuration {desired.revision} cannot be applied: {refused}"

    def _resolve(self, configuration: Configuration, interfaces: tuple[Interface, ...]) -> DesiredState:
        """Find each server's MAC; at first wait a little, so that a restart does not empty tables that work."""
        deadline = self.clock() + FIRST_WAIT_SECONDS
        while True:
            neighbours = self._hold(self.neighbours.table())
            if (changed := self._resolve_change(configuration, interfaces, neighbours)) is not None:
                self.neighbours.watch(changed.targets)  # an entry that was deleted is asked for again at once
                self._inputs = (configuration, interfaces, neighbours)
                return changed
            desired = resolve(configuration, interfaces, neighbours, self.wanted_interfaces)
            self.neighbours.watch(desired.targets)
            waiting = self._first and any(_pending(neighbours.get(target)) for target in desired.targets)
            if not waiting or self.clock() >= deadline:
                self._first = False
                self._inputs = (configuration, interfaces, neighbours)
                return desired
            self.sleep(0.05)

    def _resolve_change(
        self, configuration: Configuration, interfaces: tuple[Interface, ...], neighbours: Entries
    ) -> DesiredState | None:
        """The state that was resolved last, with what little is new; None when it must be resolved anew."""
        if self.last is None or self._inputs is None or self._inputs[1:] != (interfaces, neighbours):
            return None
        return resolve_change(self._inputs[0], self.last, configuration)

    def _hold(self, table: Entries) -> Entries:
        """The table, with a MAC that was good a moment ago in place of one that is being asked for again."""
        now, table = self.clock(), dict(table)  # a copy: it is compared with the next
        if table != self._table:
            gone = {key: entry for key, entry in self._table.items() if _good(entry) and table.get(key) != entry}
            self._held |= {key: (entry, self._looked_at) for key, entry in gone.items()}
        self._held = {
            key: (entry, since)
            for key, (entry, since) in self._held.items()
            if now - since < HOLD_SECONDS and _pending(table.get(key))
        }
        self._table, self._looked_at = table, now
        return {**table, **{key: entry for key, (entry, _since) in self._held.items()}} if self._held else table

    def _probe_device(self, desired: DesiredState) -> tuple[Interface | None, str]:
        """The device that probes leave by, None while there is no way to send any; and what went wrong.

        Checks that cannot be sent are no reason to hold up the traffic.
        """
        routes = probe_routes(desired.probes, desired.interfaces, self.probe_networks)
        if not routes:
            return None, ""
        try:
            return self.links.ensure_probe_device(routes), ""
        except OSError as refused:
            return None, f"health checks cannot be sent: {refused}"

    def _apply(self, steps: Sequence[Step], wanted: Tables) -> str:
        """Carry out the steps; returns what went wrong, in words."""
        self._clear_new_counters(wanted)
        applied = apply(steps, self.maps)
        if applied.failed is None:
            self.observed = wanted
            return ""
        self._known = False  # a refused step may have taken effect all the same: read the maps before the next round
        return f"step {applied.done + 1} of {len(steps)}: {applied.error}"

    def _clear_new_counters(self, wanted: Tables) -> None:
        """A kernel id that passes to another object must not bring along the former one's figures."""
        if wanted.vservers is self.observed.vservers and wanted.services is self.observed.services:
            return
        before = {entry.vserver_id: entry.config_id for entry in self.observed.vservers.values()}
        vservers = {
            entry.vserver_id for entry in wanted.vservers.values() if before.get(entry.vserver_id) != entry.config_id
        }
        services = {
            kernel_id
            for kernel_id, entry in wanted.services.items()
            if kernel_id not in self.observed.services or self.observed.services[kernel_id].config_id != entry.config_id
        }
        if vservers or services:
            self.maps.clear_counters(vservers=vservers, services=services)

    def _attach(self, desired: DesiredState) -> list[str]:
        """Attach to the wanted interfaces; after the tables are filled, so that the first frame finds them."""
        wanted = frozenset(item.ifindex for item in desired.interfaces if item.up)
        repairs = self.links.ensure_attached(wanted)
        vips = [vserver.address for vserver in desired.vservers if vserver.address.version == 6]
        for ifindex in wanted:
            self.links.ensure_solicited(ifindex, vips)
        self.attached = wanted
        return repairs + self._set_modes(desired, self._interfaces_of_services(self.observed))

    def _before(self, desired: DesiredState, wanted: Tables) -> list[str]:
        """Before services get an interface that had none: where XDP cannot send to it, tc has to take over first."""
        former = self._interfaces_of_services(self.observed)
        if not self.forwarding or wanted.services is self.observed.services:
            return []
        both = former | frozenset(entry.ifindex for entry in wanted.services.values())
        return self._set_modes(desired, both) if both != former else []

    def _set_modes(self, desired: DesiredState, egress: frozenset[int]) -> list[str]:
        wish = Wish(desired.mode, egress)
        done, self.forwarding = self.links.ensure_modes([item.ifindex for item in desired.interfaces], wish)
        return done

    def _interfaces_of_services(self, tables: Tables) -> frozenset[int]:
        if self._egress[0] is not tables.services:
            self._egress = (tables.services, frozenset(entry.ifindex for entry in tables.services.values()))
        return self._egress[1]

    def _announce(self, desired: DesiredState, fresh: Collection[IPAddress]) -> None:
        """Tell the segment that a VIP is here now; twice, one round apart, since nothing acknowledges it."""
        again = self._announce_again
        self._announce_again = {
            (item.ifindex, address) for address in fresh for item in _interfaces_of(address, desired.interfaces)
        }
        for ifindex in sorted({index for index, _address in again | self._announce_again}):
            addresses = {address for index, address in again | self._announce_again if index == ifindex}
            if ifindex in self.attached:
                self.links.announce(ifindex, addresses & self.observed.vips.keys())


def _good(neighbour: Neighbour) -> bool:
    return neighbour.mac is not None and not neighbour.failed


def _pending(neighbour: Neighbour | None) -> bool:
    return neighbour is None or (neighbour.mac is None and not neighbour.failed)


def _interfaces_of(vip: IPAddress, interfaces: Collection[Interface]) -> list[Interface]:
    """Interfaces whose subnet the VIP is in; a VIP of no subnet is routed here, so nobody asks for its MAC."""
    return [
        item
        for item in interfaces
        if any(entry.version == vip.version and vip in entry.network for entry in item.addresses)
    ]
