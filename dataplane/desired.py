"""What the rows say (Configuration), and what that means on this network at this moment (DesiredState)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from dataplane.forwarding import Mode
from dataplane.ports import Interface, Neighbour
from dataplane.tables import NO_RULES, HashField, IPAddress, SettingFlag, WhenDown

_NO_MAC = bytes(6)


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """A service as bound to one vserver; ``weight`` 1 to 100.

    ``hash_identity`` decides the service's places in the ring and so must outlive restarts and renames.
    ``eligible`` is False with a ``reason`` while the service is disabled or DOWN. ``flush`` says what becomes of its
    flows then, if the vserver has sessions: they get another service at once (True), or drain: no new flows, old ones
    go on until they end (False). ``share`` 1 to 100 replaces the weight in the ring, 0 does not: what methods that
    follow the load compute.
    """

    config_id: int
    name: str
    address: IPAddress
    weight: int
    hash_identity: str
    eligible: bool
    reason: str
    flush: bool = True
    share: int = 0


class Ping(Enum):
    """What becomes of a ping to a VIP.

    AUTO forwards if a vserver of the VIP takes ICMP (protocol ANY and any port, or ICMP itself), else answers.
    ANSWER: the director answers while some vserver of the VIP has a service in its ring, and is silent otherwise.
    FORWARD: to the vserver that takes ICMP, if there is one. DROP: never answered, never forwarded.
    Of several vservers on one VIP the strictest that is not AUTO decides: DROP before ANSWER before FORWARD.
    """

    AUTO = "auto"
    FORWARD = "forward"
    ANSWER = "answer"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class VServerOptions:
    """Settings of a vserver beyond the choice of its services; the defaults are those of a sessionless vserver.

    ping: what becomes of pings to the VIP.
    sessions: a flow (addresses, protocol, ports) keeps the service it got first, whatever happens to the ring.
    rotate: services take turns, by weight, instead of hashing: new flows with ``sessions``, else every packet.
        ROUNDROBIN; and with ``ServiceConfig.share`` kept up to date also LEASTCONNECTION, LEASTBANDWIDTH and LRTM.
    idle_timeout: seconds without a packet after which a flow is forgotten; 0: 9000 for TCP, else 120.
    persist_timeout: seconds without a new flow (without ``sessions``: without a packet) after which a source is free
        to get another service; 0: no persistence.
    persist_mask: ANDed to the source before it is remembered, of the VIP's family; None: the whole address.
    syn_rate: SYNs a second that the vserver takes; 0: no limit.
    syn_burst: SYNs that may come at once; 0: as many as ``syn_rate``.
    source_syn_rate, source_syn_burst: the same for each source network.
    source_mask: what a source network is, of the VIP's family; None: a single address.
    when_down: what becomes of packets while no service can take them.
    """

    ping: Ping = Ping.AUTO
    sessions: bool = False
    rotate: bool = False
    idle_timeout: int = 0
    persist_timeout: int = 0
    persist_mask: IPAddress | None = None
    syn_rate: int = 0
    syn_burst: int = 0
    source_syn_rate: int = 0
    source_syn_burst: int = 0
    source_mask: IPAddress | None = None
    when_down: WhenDown = WhenDown.DROP


@dataclass(frozen=True, slots=True)
class VServerConfig:
    """A virtual server. ``protocol`` is an IP protocol number, 0 for ANY; ``port`` 0 is any port.

    With ``port_end`` it takes the ports from ``port`` to that one, else it is 0.
    """

    config_id: int
    name: str
    address: IPAddress
    protocol: int
    port: int
    hash_fields: HashField
    mask: IPAddress
    services: tuple[ServiceConfig, ...]
    options: VServerOptions = VServerOptions()
    port_end: int = 0


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """Probe address ``address`` stands for ``vip`` on the server at ``server``."""

    address: IPAddress
    vip: IPAddress
    server: IPAddress


@dataclass(frozen=True, slots=True)
class Configuration:
    """All rows that the forwarder follows, as of ``revision``. ``hash_key`` is 16 bytes.

    ``servers`` are addresses whose path is wanted although no vserver may use them yet. ``rules`` are those of the
    whole director, and so is ``mode``: whether XDP forwards where it can.
    """

    revision: int
    hash_key: bytes
    vservers: tuple[VServerConfig, ...]
    probes: tuple[ProbeTarget, ...]
    servers: tuple[IPAddress, ...] = ()
    rules: SettingFlag = NO_RULES
    mode: Mode = Mode.AUTO


@dataclass(frozen=True, slots=True)
class Path:
    """How frames reach a server. ``usable`` is False with a ``reason`` in words, and ``mac`` then has no meaning."""

    ifindex: int
    mac: bytes
    source_mac: bytes
    reason: str

    @property
    def usable(self) -> bool:
        """Whether frames can be sent there now."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Service:
    """A bound service with the path to its server; ``eligible`` says whether it gets slots of the ring.

    ``reason`` is empty when eligible, else every cause in words.
    """

    config_id: int
    name: str
    address: IPAddress
    weight: int
    hash_identity: str
    path: Path
    eligible: bool
    reason: str
    flush: bool = True
    share: int = 0


@dataclass(frozen=True, slots=True)
class VServer:
    """A virtual server with resolved services."""

    config_id: int
    name: str
    address: IPAddress
    protocol: int
    port: int
    hash_fields: HashField
    mask: IPAddress
    services: tuple[Service, ...]
    options: VServerOptions = VServerOptions()
    port_end: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe address with the path to its server."""

    address: IPAddress
    vip: IPAddress
    server: IPAddress
    path: Path


@dataclass(frozen=True, slots=True)
class DesiredState:
    """All that compile needs; hashable, so that equal states can be recognised without compiling them.

    ``targets`` are the (ifindex, address) pairs whose MACs are needed, including those not resolved yet.
    """

    revision: int
    hash_key: bytes
    vservers: tuple[VServer, ...]
    probes: tuple[Probe, ...]
    interfaces: tuple[Interface, ...]
    targets: tuple[tuple[int, IPAddress], ...]
    servers: tuple[tuple[IPAddress, Path], ...] = ()
    rules: SettingFlag = NO_RULES
    mode: Mode = Mode.AUTO


def resolve(
    configuration: Configuration,
    interfaces: Sequence[Interface],
    neighbours: Mapping[tuple[int, IPAddress], Neighbour],
    wanted_interfaces: Collection[str] | None = None,
) -> DesiredState:
    """Find interface and MAC of each server; what cannot be reached stays, not eligible, with the reason.

    ``interfaces`` are all of the director's; ``wanted_interfaces`` names those that may be used, None for all.
    """
    usable = tuple(
        sorted(
            (item for item in interfaces if wanted_interfaces is None or item.name in wanted_interfaces),
            key=lambda item: item.ifindex,
        )
    )
    finder = _PathFinder(usable, interfaces, neighbours, {vserver.address for vserver in configuration.vservers})
    vservers = tuple(resolve_vserver(vserver, finder.path) for vserver in configuration.vservers)
    probes = tuple(
        Probe(target.address, target.vip, target.server, finder.path(target.server)) for target in configuration.probes
    )
    servers = tuple((address, finder.path(address)) for address in configuration.servers)
    return DesiredState(
        configuration.revision,
        configuration.hash_key,
        vservers,
        probes,
        usable,
        finder.targets(),
        servers,
        configuration.rules,
        configuration.mode,
    )


def ineligible(state: DesiredState) -> Iterator[tuple[VServer, Service]]:
    """Every binding that gets no traffic; its ``reason`` says why."""
    for vserver in state.vservers:
        for service in vserver.services:
            if not service.eligible:
                yield vserver, service


def resolve_vserver(vserver: VServerConfig, path: Callable[[IPAddress], Path]) -> VServer:
    """A virtual server with the paths to its servers, which ``path`` tells by their addresses."""
    return VServer(
        vserver.config_id,
        vserver.name,
        vserver.address,
        vserver.protocol,
        vserver.port,
        vserver.hash_fields,
        vserver.mask,
        tuple(resolve_service(service, path(service.address)) for service in vserver.services),
        vserver.options,
        vserver.port_end,
    )


def resolve_service(service: ServiceConfig, path: Path) -> Service:
    """A service with the path to its server, and why it gets no traffic."""
    own_reason = "" if service.eligible else service.reason or f"Service {service.name} is not eligible"
    return Service(
        service.config_id,
        service.name,
        service.address,
        service.weight,
        service.hash_identity,
        path,
        service.eligible and path.usable,
        "; ".join(reason for reason in (own_reason, path.reason) if reason),
        service.flush,
        service.share,
    )


class _PathFinder:
    """Paths to servers, each worked out once."""

    def __init__(
        self,
        usable: Sequence[Interface],
        interfaces: Sequence[Interface],
        neighbours: Mapping[tuple[int, IPAddress], Neighbour],
        vips: Collection[IPAddress],
    ) -> None:
        self._usable = usable
        self._own_addresses = {entry.ip: item.name for item in interfaces for entry in item.addresses}
        self._own_macs = {item.mac: item.name for item in interfaces}
        self._neighbours = neighbours
        self._vips = vips
        self._paths: dict[IPAddress, Path] = {}
        self._targets: set[tuple[int, IPAddress]] = set()

    def path(self, address: IPAddress) -> Path:
        if address not in self._paths:
            self._paths[address] = self._find(address)
        return self._paths[address]

    def targets(self) -> tuple[tuple[int, IPAddress], ...]:
        return tuple(sorted(self._targets, key=lambda pair: (pair[0], pair[1].version, int(pair[1]))))

    def _find(self, address: IPAddress) -> Path:
        if address in self._own_addresses:
            where = self._own_addresses[address]
            return _unusable(f"Server {address} is an address of the director itself, on {where}")
        if address in self._vips:
            return _unusable(f"Server {address} has the address of a virtual server, which the director answers for")
        interface = self._interface(address)
        if interface is None:
            return _unusable(self._outside(address))
        if not interface.up:
            return _unusable(f"Interface {interface.name}, which leads to server {address}, is down")
        self._targets.add((interface.ifindex, address))
        return self._resolved(address, interface)

    def _interface(self, address: IPAddress) -> Interface | None:
        """Interface with the longest connected prefix; of equal ones one that is up, then the lowest index."""
        best: tuple[int, bool, int] | None = None
        found = None
        for item in self._usable:
            for entry in item.addresses:
                if address.version != entry.version or address not in entry.network:
                    continue
                rank = (entry.network.prefixlen, item.up, -item.ifindex)
                if best is None or rank > best:
                    best, found = rank, item
        return found

    def _outside(self, address: IPAddress) -> str:
        subnets = [
            f"{entry.network} on {item.name}"
            for item in self._usable
            for entry in item.addresses
            if entry.version == address.version
        ]
        if not subnets:
            return f"Server {address}: the director is connected to no IPv{address.version} subnet"
        return f"Server {address} is outside every subnet that the director is connected to ({', '.join(subnets)})"

    def _resolved(self, address: IPAddress, interface: Interface) -> Path:
        neighbour = self._neighbours.get((interface.ifindex, address))
        question = "ARP requests" if address.version == 4 else "neighbour solicitations"
        if neighbour is None or (neighbour.mac is None and not neighbour.failed):
            return _unusable(f"The MAC address of server {address} is not known yet on {interface.name}")
        if neighbour.mac is None or neighbour.failed:
            return _unusable(f"Server {address} does not answer {question} on {interface.name}")
        mac = neighbour.mac
        if mac in self._own_macs:
            return _unusable(f"Server {address} has the MAC address of the director's own {self._own_macs[mac]}")
        if mac[0] & 1 or mac == _NO_MAC:
            return _unusable(f"Server {address} has {mac.hex(':')} as MAC address, which is not that of one host")
        return Path(interface.ifindex, mac, interface.mac, "")


def _unusable(reason: str) -> Path:
    return Path(0, _NO_MAC, _NO_MAC, reason)
