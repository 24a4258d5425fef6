"""A small network and random configurations of it, for the tests of the data plane's pure part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from hypothesis import strategies as st

from dataplane.compile import compile_tables
from dataplane.desired import (
    Configuration,
    DesiredState,
    ProbeTarget,
    ServiceConfig,
    VServerConfig,
    VServerOptions,
    resolve,
)
from dataplane.ports import Interface, Neighbour
from dataplane.tables import HashField, IPAddress, Tables, WhenDown
from tests.fakes import Packet

HASH_KEY = bytes(range(16))
ETH0 = Interface(
    2, "eth0", bytes.fromhex("020000000001"), True, (ip_interface("10.77.0.1/24"), ip_interface("fd77::1/64"))
)
ETH1 = Interface(3, "eth1", bytes.fromhex("020000000002"), True, (ip_interface("10.78.0.1/24"),))
PROBE_MAC = bytes.fromhex("020000000099")
VIPS = (ip_address("10.77.0.10"), ip_address("10.78.0.11"), ip_address("fd77::10"))
SERVERS = {
    4: (*(ip_address(f"10.77.0.{host}") for host in range(21, 26)), ip_address("10.78.0.21")),
    6: tuple(ip_address(f"fd77::{host}") for host in range(21, 25)),
}
FULL_MASK: dict[int, IPAddress] = {
    4: IPv4Address("255.255.255.255"),
    6: IPv6Address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
}


def mac_of(address: IPAddress, generation: int = 0) -> bytes:
    """A made-up MAC; another ``generation`` is another network card of the same server."""
    return bytes([2, generation, address.version]) + (int(address) & 0xFFFFFF).to_bytes(3, "big")


def neighbour_table(
    addresses: Sequence[IPAddress], generations: Mapping[IPAddress, int | None] | None = None
) -> dict[tuple[int, IPAddress], Neighbour]:
    """Entries of the servers; a generation of None means that the server does not answer."""
    table = {}
    for address in addresses:
        ifindex = ETH1.ifindex if address in ETH1.addresses[0].network else ETH0.ifindex
        generation = (generations or {}).get(address, 0)
        mac = None if generation is None else mac_of(address, generation)
        table[ifindex, address] = Neighbour(ifindex, address, mac, failed=mac is None)
    return table


ALL_NEIGHBOURS = neighbour_table([*SERVERS[4], *SERVERS[6]])


def service(number: int, address: str, *, weight: int = 1, eligible: bool = True, reason: str = "") -> ServiceConfig:
    return ServiceConfig(number, f"s{number}", ip_address(address), weight, f"{address} {number}", eligible, reason)


def vserver(
    number: int,
    *services: ServiceConfig,
    address: str = "10.77.0.10",
    protocol: int = 0,
    port: int = 0,
    port_end: int = 0,
    hash_fields: HashField = HashField.SOURCE,
    options: VServerOptions = VServerOptions(),  # noqa: B008 - frozen
) -> VServerConfig:
    vip = ip_address(address)
    mask = FULL_MASK[vip.version]
    return VServerConfig(number, f"v{number}", vip, protocol, port, hash_fields, mask, services, options, port_end)


def desired(*vservers: VServerConfig, probes: Sequence[ProbeTarget] = ()) -> DesiredState:
    """These vservers on the small network with all servers answering."""
    return resolve(Configuration(1, HASH_KEY, tuple(vservers), tuple(probes)), [ETH0, ETH1], ALL_NEIGHBOURS)


def compiled(state: DesiredState, previous: Tables | None = None) -> Tables:
    return compile_tables(state, previous or Tables(), probe_ifindex=9, probe_mac=PROBE_MAC)


# Any port, one, or a range; ranges overlap in every way, and begin or end at single ports.
PORTS = st.sampled_from(
    [(0, 0), (0, 0), (80, 0), (443, 0), (80, 443), (79, 90), (80, 90), (85, 100), (443, 8080), (1, 65535)]
)


@dataclass(slots=True)
class _Drawn:
    """Rows drawn so far; keys are unique as the models ensure."""

    keys: set[tuple[IPAddress, int, tuple[int, int]]] = field(default_factory=set)
    vservers: list[VServerConfig] = field(default_factory=list)


@st.composite
def states(draw: st.DrawFn) -> DesiredState:
    """A random configuration on the small network, with some servers silent or with another network card.

    Config ids come from small ranges, so that two states share objects and differ in every field of them.
    """
    drawn = _Drawn()
    for config_id in draw(st.lists(st.integers(1, 7), unique=True, max_size=6)):
        _draw_vserver(draw, config_id, drawn)
    addresses = [*SERVERS[4], *SERVERS[6]]
    cards = st.lists(st.sampled_from([0, 0, 0, 1, None]), min_size=len(addresses), max_size=len(addresses))
    generations = dict(zip(addresses, draw(cards), strict=True))
    probes = draw(st.lists(st.integers(0, 9), unique=True, max_size=3))
    configuration = Configuration(1, HASH_KEY, tuple(drawn.vservers), tuple(_probe_target(number) for number in probes))
    return resolve(configuration, [ETH0, ETH1], neighbour_table(addresses, generations))


def _draw_vserver(draw: st.DrawFn, config_id: int, drawn: _Drawn) -> None:
    # Mostly one VIP: vservers that take clients from each other are the hard case.
    vip = draw(st.sampled_from([VIPS[0], VIPS[0], VIPS[0], *VIPS]))
    key = vip, draw(st.sampled_from([0, 6, 17])), draw(PORTS)
    if key in drawn.keys:
        return
    drawn.keys.add(key)
    servers = SERVERS[vip.version]
    # A service is one server for good: its row id and its identity follow from the address.
    bound = draw(st.lists(st.integers(0, len(servers) - 1), unique=True, max_size=4))
    fields = draw(
        st.sampled_from(
            [HashField.SOURCE, HashField.SOURCE | HashField.DESTINATION, HashField.SOURCE | HashField.SOURCE_PORT]
        )
    )
    services = tuple(
        ServiceConfig(
            10 * vip.version + number,
            f"s{number}",
            servers[number],
            draw(st.sampled_from([1, 1, 1, 50])),
            str(servers[number]),
            (eligible := draw(st.booleans()) or draw(st.booleans())),
            "" if eligible else "Service is DOWN",
        )
        for number in bound
    )
    mask = FULL_MASK[vip.version]
    options = VServerOptions(when_down=draw(st.sampled_from(WhenDown)))
    port, port_end = key[2]
    drawn.vservers.append(
        VServerConfig(config_id, f"v{config_id}", vip, key[1], port, fields, mask, services, options, port_end)
    )


def _probe_target(number: int) -> ProbeTarget:
    servers = SERVERS[4]
    return ProbeTarget(ip_address(f"198.18.0.{number}"), VIPS[number % 2], servers[number % len(servers)])


def clients() -> list[Packet]:
    """Packets to every VIP that between them reach every kind of look-up."""
    packets = []
    for vip in VIPS:
        for host in range(3):
            source = ip_address(f"10.77.0.{200 + host}" if vip.version == 4 else f"fd77::{200 + host}")
            for protocol in (6, 17):
                packets += [Packet(source, vip, protocol, 40000 + host, port) for port in (80, 89, 443, 8080)]
            icmp = 1 if vip.version == 4 else 58
            packets += [Packet(source, vip, icmp, ping=ping) for ping in (False, True)]
            reply = Packet(vip, source, 6, 80, 40000 + host)
            packets.append(Packet(source, vip, icmp, quoted=reply))
            packets.append(Packet(source, vip, 6, fragment=True, later=True))
            packets.append(Packet(source, vip, 17, 40000, 80, fragment=True))
    return packets
