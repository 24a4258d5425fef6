"""What the forwarder's maps hold, as plain values: compile makes them, plan compares them, layout packs them.

Shapes in bytes stand in dataplane/bpf/types.h and dataplane/layout.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address
# First and last port of a range
Ports = tuple[int, int]

RING_SLOTS = 16381
MAX_VSERVERS = 4096
MAX_VIPS = 4096
MAX_PORT_PREFIXES = 16384
MAX_SERVICES = 16384
MAX_PROBES = 16384
MAX_INTERFACES = 256
MAX_CLOSED = 65536
MAX_FLOWS = 262144
MAX_EMBRYOS = 65536
MAX_FRAGMENTS = 16384
MAX_SYN_SOURCES = 65536
MAX_PROBE_FLOWS = 16384
MAX_SAMPLERS = 4
EVENTS_SIZE = 131072
EVENT_FRAME = 96


class VipFlag(IntFlag):
    """Which vserver look-ups can match a VIP, and what the forwarder does with ARP, ND and pings for it."""

    PROTO_PORT = 1 << 0
    PROTO = 1 << 1
    PORT = 1 << 2
    ANY = 1 << 3
    PROTO_RANGE = 1 << 4
    RANGE = 1 << 5
    ANSWER = 1 << 8
    PING_ANSWER = 1 << 9
    PING_DROP = 1 << 10


class HashField(IntFlag):
    """What a vserver's method hashes."""

    SOURCE = 1 << 0
    DESTINATION = 1 << 1
    SOURCE_PORT = 1 << 2


class VServerFlag(IntFlag):
    """How a vserver chooses beyond hashing. With any flag, :class:`PolicyEntry` has the rest.

    SESSIONS: a flow keeps its service. ROTATE: new flows, or packets if there are no sessions, take the ring's slots
    in turn. PERSIST: a source keeps its service for new flows. SYN_LIMIT: SYNs pass by token buckets.
    """

    SESSIONS = 1 << 0
    ROTATE = 1 << 1
    PERSIST = 1 << 2
    SYN_LIMIT = 1 << 3


class ServiceFlag(IntFlag):
    """CLOSED: the table of closed pairs has entries for the service."""

    CLOSED = 1 << 0


class ClosedState(IntEnum):
    """What becomes of a vserver's flows at a service that it does not choose any more.

    DRAIN: they go on until they end. FLUSH: they get another service at once.
    """

    DRAIN = 1
    FLUSH = 2


class WhenDown(IntEnum):
    """What becomes of packets while no service of a vserver can take them.

    DROP: they are dropped. REJECT: the client is told, by a TCP reset or by ICMP (dataplane/bpf/reject.h).
    """

    DROP = 0
    REJECT = 1


class SettingFlag(IntFlag):
    """Rules of the whole director. TTL: a packet whose TTL or hop limit is 1 or 0 is dropped, not forwarded."""

    TTL = 1 << 0


NO_RULES = SettingFlag(0)
NO_VSERVER_FLAGS = VServerFlag(0)
NO_SERVICE_FLAGS = ServiceFlag(0)


class Reason(IntEnum):
    """Why a frame left the forwarder as it did; the same numbers as ``enum reason`` in types.h."""

    FORWARDED = 0
    ARP_ANSWERED = 1
    ND_ANSWERED = 2
    PROBE_SENT = 3
    PROBE_ANSWERED = 4
    PING_ANSWERED = 5
    REJECTED_RST = 6
    REJECTED_ICMP = 7
    PASS_NOT_IP = 8
    PASS_NOT_VIP = 9
    PASS_NOT_TO_US = 10
    PASS_VLAN = 11
    PASS_MALFORMED = 12
    DROP_MALFORMED = 13
    DROP_NO_VSERVER = 14
    DROP_NO_SERVICE = 15
    DROP_FRAGMENT = 16
    DROP_OWN_MAC = 17
    DROP_PROBE_UNMAPPED = 18
    DROP_TABLE = 19
    DROP_PING = 20
    DROP_QUOTATION = 21
    DROP_LOOP = 22
    DROP_TTL = 23
    DROP_SYN_RATE = 24
    DROP_SYN_SOURCE = 25


@dataclass(frozen=True, slots=True)
class VServerKey:
    """Address, IP protocol number (0: ANY) and port (0: any), or the ports from ``port`` to ``port_end``."""

    address: IPAddress
    protocol: int
    port: int
    port_end: int = 0


@dataclass(frozen=True, slots=True)
class PortPrefix:
    """The ports at an address whose first ``bits`` (1 to 16) are those of ``port``; the others of ``port`` are 0."""

    address: IPAddress
    protocol: int
    port: int
    bits: int


@dataclass(frozen=True, slots=True)
class VServerEntry:
    """Kernel id (index of ring and counters), row id, and how clients are hashed.

    ``mask`` has the VIP's address family and is ANDed to each hashed address.
    """

    vserver_id: int
    config_id: int
    hash_fields: HashField
    mask: IPAddress
    flags: VServerFlag = NO_VSERVER_FLAGS


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """Where frames of a service go. MACs are 6 bytes; ``ifindex`` is the egress interface."""

    config_id: int
    ifindex: int
    mac: bytes
    source_mac: bytes
    flags: ServiceFlag = NO_SERVICE_FLAGS


@dataclass(frozen=True, slots=True)
class SynLimit:
    """SYNs a second for the vserver and for each source network, 0 for no limit, and how many pass at once.

    ``source_mask`` has the VIP's address family and says what a network is.
    """

    rate: int
    burst: int
    source_rate: int
    source_burst: int
    source_mask: IPAddress


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """What a vserver with flags, or one that rejects, needs besides; ``config_id`` is its row, times are in seconds.

    ``persist_mask`` has the VIP's address family and is ANDed to the source that persists.
    """

    config_id: int
    idle_timeout: int
    persist_timeout: int
    persist_mask: IPAddress
    syn: SynLimit | None = None
    when_down: WhenDown = WhenDown.DROP


@dataclass(frozen=True, slots=True)
class ClosedKey:
    """Row of a vserver and kernel id of a service."""

    vserver: int
    service: int


@dataclass(frozen=True, slots=True)
class ProbeOut:
    """What a probe address stands for: a VIP on the server with this MAC."""

    vip: IPAddress
    ifindex: int
    mac: bytes
    source_mac: bytes


@dataclass(frozen=True, slots=True)
class ProbeInKey:
    """A frame from this VIP and this source MAC answers a probe."""

    vip: IPAddress
    mac: bytes


@dataclass(frozen=True, slots=True)
class ForwarderSettings:
    """``hash_key``: 16 bytes. ``probe_ifindex`` 0 switches probing off. ``flags``: rules of the whole director."""

    hash_key: bytes = bytes(16)
    probe_ifindex: int = 0
    probe_mac: bytes = bytes(6)
    flags: SettingFlag = NO_RULES


@dataclass(slots=True)
class Tables:
    """All maps that configuration decides. A ring is RING_SLOTS little-endian u16 service ids.

    ``interfaces`` has the own MAC (6 bytes) of each interface the forwarder is attached to, by ifindex: it is the
    answer to ARP requests and neighbour solicitations. ``policies`` are by vserver id. ``port_prefixes`` tell to which
    range of the vservers with that address and protocol a port belongs; no two of them overlap.
    """

    settings: ForwarderSettings = field(default_factory=ForwarderSettings)
    interfaces: dict[int, bytes] = field(default_factory=dict)
    vips: dict[IPAddress, VipFlag] = field(default_factory=dict)
    vservers: dict[VServerKey, VServerEntry] = field(default_factory=dict)
    port_prefixes: dict[PortPrefix, Ports] = field(default_factory=dict)
    rings: dict[int, bytes] = field(default_factory=dict)
    services: dict[int, ServiceEntry] = field(default_factory=dict)
    policies: dict[int, PolicyEntry] = field(default_factory=dict)
    closed: dict[ClosedKey, ClosedState] = field(default_factory=dict)
    probes_out: dict[IPAddress, ProbeOut] = field(default_factory=dict)
    probes_in: dict[ProbeInKey, IPAddress] = field(default_factory=dict)


class SampleKind(IntFlag):
    """What a listener may be told of. DROP: a frame that was dropped. FORWARDED: one in so many that were forwarded.

    FLOW: the first packet of a flow; of a vserver that keeps no sessions: a SYN.
    """

    DROP = 1 << 0
    FLOW = 1 << 1
    FORWARDED = 1 << 2


@dataclass(frozen=True, slots=True)
class Sampling:
    """What one listener wants to be told of single frames, until ``until`` (CLOCK_MONOTONIC, ns).

    ``vserver`` is a row, 0 for all; with one, ``vip`` is its address, so that packets to it that belong to no vserver
    are told too. Of FORWARDED one in ``one_in`` is told. ``rate`` is events a second of each CPU, ``burst`` how many
    may come at once. ``caught``: bytes of the frame to keep, 0 to EVENT_FRAME.
    """

    until: int
    kinds: SampleKind
    rate: int
    burst: int
    vserver: int = 0
    vip: IPAddress | None = None
    one_in: int = 1
    caught: int = 0


@dataclass(frozen=True, slots=True)
class Sampled:
    """Events that one listener was told, and those withheld because they came too fast, on all CPUs."""

    told: int = 0
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """What became of one frame. ``time`` is CLOCK_MONOTONIC in ns; ``vserver`` and ``service`` are rows, 0: unknown.

    ``frame`` is its beginning, as it came if it was dropped, and as it left if it was forwarded; ``length`` is that of
    the whole frame in bytes. ``ifindex`` is where it arrived; of a probe: the probe device. ``arrived`` are the MAC
    addresses that it came with, 12 bytes, destination first: nothing else of a forwarded frame is changed.
    """

    time: int
    kind: SampleKind
    reason: Reason
    source: IPAddress
    destination: IPAddress
    source_port: int
    port: int
    protocol: int
    ifindex: int
    vserver: int
    service: int
    length: int
    tcp_flags: int = 0
    fragment: bool = False
    frame: bytes = b""
    arrived: bytes = bytes(12)


@dataclass(frozen=True, slots=True)
class Count:
    """Packets, and bytes of whole frames without FCS, since the entry was made."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters read in one go, by kernel id."""

    vservers: dict[int, Count]
    services: dict[int, Count]
    reasons: dict[Reason, Count]
    drops: dict[int, dict[Reason, int]] = field(default_factory=dict)  # packets, by vserver; only what is not zero
    vserver_flows: dict[int, int] = field(default_factory=dict)  # flows that began
    service_flows: dict[int, int] = field(default_factory=dict)
