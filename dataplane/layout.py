"""Keys and values of the forwarder's maps as bytes; the same as dataplane/bpf/types.h, which a test compares by BTF.

Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). Ports are in network order,
everything else is little endian. Packing raises ValueError and names the field whose value does not fit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, ip_address

from dataplane.tables import (
    MAX_VSERVERS,
    RING_SLOTS,
    ClosedKey,
    ClosedState,
    ForwarderSettings,
    HashField,
    IPAddress,
    PolicyEntry,
    PortPrefix,
    Ports,
    ProbeInKey,
    ProbeOut,
    ServiceEntry,
    ServiceFlag,
    SettingFlag,
    SynLimit,
    VipFlag,
    VServerEntry,
    VServerFlag,
    VServerKey,
    WhenDown,
)

ADDRESS_SIZE = 16
MAX_RATE = 10**9
MAX_TIMEOUT = 365 * 86400  # in nanoseconds well inside 64 bits
RING_SIZE = 2 * RING_SLOTS
MAC_SIZE = 6
PORT_PREFIX_BITS = 144  # of a port_prefix before the port

_ID = struct.Struct("<I")
_VIP = struct.Struct("<I")
_VSERVER_PORT = struct.Struct(">HBx")
_RANGE_KEY = struct.Struct(">16sHHB3x")
_PORT_PREFIX = struct.Struct("=I16sxB2s")  # the kernel reads the length in its own order, and bytes after it
_PORT_RANGE = struct.Struct(">HH")
_VSERVER = struct.Struct("<IIII16s")
_SERVICE = struct.Struct("<II6s6sI")
_SERVICE_IN_USE = struct.Struct("<I20x")
_POLICY = struct.Struct("<IIII16sIIII16s")
_POLICY_IN_USE = struct.Struct("<I60x")
_SYN_SOURCE_KEY = struct.Struct(">16sI4x")
_BUCKET = struct.Struct("<Q")
_CLOSED_KEY = struct.Struct("<II")
_CLOSED = struct.Struct("<I")
# flow.h: EMBRYO_TIMEOUT and CLOSING_TIMEOUT, seconds
SHORT_TIMEOUT = 30
FLOW_PERSISTENCE = 1
_FLOW_KEY = struct.Struct(">8sHHBB2x")
_FLOW = struct.Struct("<QIIII")
_PROBE_OUT = struct.Struct("<16sI6s6s")
_PROBE_IN = struct.Struct("<16s6s2x")
_SETTINGS = struct.Struct("<16sI6s2xI")
_INTERFACE = struct.Struct("<6s2x")
_PROBE_FLOW = struct.Struct("<16s16sI6sBB")

SAMPLED_OFFSET = 26  # of the byte `sampled` in struct settings


def checked_number(name: str, value: int, limit: int) -> int:
    """Raises ValueError, naming the field, unless the value is 0 to ``limit`` - 1."""
    if not 0 <= value < limit:
        raise ValueError(f"{name} is {value}: must be 0 to {limit - 1}")
    return value


def checked_octets(name: str, value: bytes, size: int) -> bytes:
    """Raises ValueError, naming the field, unless there are ``size`` bytes."""
    if len(value) != size:
        raise ValueError(f"{name} has {len(value)} bytes: must have {size}")
    return value


def pack_address(address: IPAddress) -> bytes:
    """16 bytes."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpack_address(data: bytes) -> IPAddress:
    """Inverse of :func:`pack_address`; what is IPv4-mapped becomes IPv4."""
    address = IPv6Address(checked_octets("address", data, ADDRESS_SIZE))
    return address.ipv4_mapped or address


def pack_id(number: int) -> bytes:
    """Index of an array, or ifindex: 4 bytes."""
    return _ID.pack(checked_number("id", number, 1 << 32))


def unpack_id(data: bytes) -> int:
    """Inverse of :func:`pack_id`."""
    return int(_ID.unpack(data)[0])


def pack_vip(flags: VipFlag) -> bytes:
    """``struct vip_value``, 4 bytes."""
    return _VIP.pack(flags)


def unpack_vip(data: bytes) -> VipFlag:
    """Inverse of :func:`pack_vip`."""
    return VipFlag(_VIP.unpack(data)[0])


def pack_vserver_key(key: VServerKey) -> bytes:
    """``struct vserver_key``, 20 bytes."""
    port = checked_number("port", key.port, 1 << 16)
    return pack_address(key.address) + _VSERVER_PORT.pack(port, checked_number("protocol", key.protocol, 1 << 8))


def unpack_vserver_key(data: bytes) -> VServerKey:
    """Inverse of :func:`pack_vserver_key`."""
    port, protocol = _VSERVER_PORT.unpack_from(data, ADDRESS_SIZE)
    return VServerKey(unpack_address(data[:ADDRESS_SIZE]), protocol, port)


def pack_range_key(key: VServerKey) -> bytes:
    """``struct range_key``, 24 bytes, of a vserver with a range of ports."""
    if not 1 <= key.port < key.port_end < 1 << 16:
        raise ValueError(f"port range is {key.port}-{key.port_end}: must be two ports of 1 to 65535 in order")
    address, protocol = pack_address(key.address), checked_number("protocol", key.protocol, 1 << 8)
    return _RANGE_KEY.pack(address, key.port, key.port_end, protocol)


def unpack_range_key(data: bytes) -> VServerKey:
    """Inverse of :func:`pack_range_key`."""
    address, port, port_end, protocol = _RANGE_KEY.unpack(data)
    return VServerKey(unpack_address(address), protocol, port, port_end)


def pack_port_prefix(key: PortPrefix) -> bytes:
    """``struct port_prefix``, 24 bytes."""
    if not 1 <= key.bits <= 16:
        raise ValueError(f"bits of a port prefix are {key.bits}: must be 1 to 16")
    port = checked_number("port", key.port, 1 << 16).to_bytes(2, "big")
    protocol = checked_number("protocol", key.protocol, 1 << 8)
    return _PORT_PREFIX.pack(PORT_PREFIX_BITS + key.bits, pack_address(key.address), protocol, port)


def unpack_port_prefix(data: bytes) -> PortPrefix:
    """Inverse of :func:`pack_port_prefix`."""
    length, address, protocol, port = _PORT_PREFIX.unpack(data)
    return PortPrefix(unpack_address(address), protocol, int.from_bytes(port, "big"), length - PORT_PREFIX_BITS)


def pack_port_range(ports: Ports) -> bytes:
    """``struct port_range``, 4 bytes."""
    return _PORT_RANGE.pack(
        checked_number("first port", ports[0], 1 << 16), checked_number("last port", ports[1], 1 << 16)
    )


def unpack_port_range(data: bytes) -> Ports:
    """Inverse of :func:`pack_port_range`."""
    first, last = _PORT_RANGE.unpack(data)
    return first, last


def pack_vserver(entry: VServerEntry) -> bytes:
    """``struct vserver_value``, 32 bytes. An IPv4 mask stands in the last word alone."""
    if not 1 <= entry.vserver_id < MAX_VSERVERS:
        raise ValueError(f"vserver_id is {entry.vserver_id}: must be 1 to {MAX_VSERVERS - 1}")
    mask = entry.mask.packed.rjust(ADDRESS_SIZE, b"\0") if entry.mask.version == 4 else entry.mask.packed
    return _VSERVER.pack(
        entry.vserver_id, checked_number("config_id", entry.config_id, 1 << 32), entry.hash_fields, entry.flags, mask
    )


def unpack_vserver(data: bytes, key: VServerKey) -> VServerEntry:
    """Inverse of :func:`pack_vserver`; the key tells the mask's address family."""
    vserver_id, config_id, fields, flags, mask = _VSERVER.unpack(data)
    return VServerEntry(
        vserver_id,
        config_id,
        HashField(fields),
        ip_address(mask[12:] if key.address.version == 4 else mask),
        VServerFlag(flags),
    )


def pack_service(entry: ServiceEntry) -> bytes:
    """``struct service_value``, 24 bytes."""
    return _SERVICE.pack(
        checked_number("config_id", entry.config_id, 1 << 32),
        checked_number("ifindex", entry.ifindex, 1 << 32),
        checked_octets("mac", entry.mac, MAC_SIZE),
        checked_octets("source_mac", entry.source_mac, MAC_SIZE),
        entry.flags,
    )


def unpack_service(data: bytes) -> ServiceEntry:
    """Inverse of :func:`pack_service`. ``config_id`` 0: the entry is not in use."""
    config_id, ifindex, mac, source_mac, flags = _SERVICE.unpack(data)
    return ServiceEntry(config_id, ifindex, mac, source_mac, ServiceFlag(flags))


def services_in_use(values: bytes) -> dict[int, ServiceEntry]:
    """The used entries of the whole services array, by index. Most of its 16384 are not."""
    return {
        index: unpack_service(values[index * _SERVICE.size : (index + 1) * _SERVICE.size])
        for index, (config_id,) in enumerate(_SERVICE_IN_USE.iter_unpack(values))
        if config_id
    }


def pack_policy(entry: PolicyEntry) -> bytes:
    """``struct policy``, 64 bytes. An IPv4 mask is widened by ones; without SYN limit its part is zeros."""
    syn = entry.syn
    rates = (syn.rate, syn.burst, syn.source_rate, syn.source_burst) if syn else (0, 0, 0, 0)
    return _POLICY.pack(
        checked_number("config_id", entry.config_id, 1 << 32),
        checked_number("idle_timeout", entry.idle_timeout, MAX_TIMEOUT + 1),
        checked_number("persist_timeout", entry.persist_timeout, MAX_TIMEOUT + 1),
        entry.when_down,
        _pack_mask(entry.persist_mask),
        *(checked_number("SYN rate or burst", number, MAX_RATE + 1) for number in rates),
        _pack_mask(syn.source_mask) if syn else bytes(ADDRESS_SIZE),
    )


def unpack_policy(data: bytes, version: int) -> PolicyEntry:
    """Inverse of :func:`pack_policy` for a vserver whose VIP has this IP version."""
    config_id, idle_timeout, persist_timeout, when_down, mask, *rates, source = _POLICY.unpack(data)
    rate, burst, source_rate, source_burst = rates
    syn = None
    if rate or source_rate:
        syn = SynLimit(rate, burst, source_rate, source_burst, _unpack_mask(source, version))
    return PolicyEntry(config_id, idle_timeout, persist_timeout, _unpack_mask(mask, version), syn, WhenDown(when_down))


def _pack_mask(mask: IPAddress) -> bytes:
    return mask.packed.rjust(ADDRESS_SIZE, b"\xff")


def _unpack_mask(data: bytes, version: int) -> IPAddress:
    return ip_address(data[12:] if version == 4 else data)


def policies_in_use(values: bytes) -> dict[int, bytes]:
    """The used entries of the whole policies array, packed, by vserver id."""
    return {
        index: values[index * _POLICY.size : (index + 1) * _POLICY.size]
        for index, (config_id,) in enumerate(_POLICY_IN_USE.iter_unpack(values))
        if config_id
    }


def pack_closed_key(key: ClosedKey) -> bytes:
    """``struct closed_key``, 8 bytes."""
    return _CLOSED_KEY.pack(
        checked_number("vserver", key.vserver, 1 << 32), checked_number("service", key.service, 1 << 32)
    )


def unpack_closed_key(data: bytes) -> ClosedKey:
    """Inverse of :func:`pack_closed_key`."""
    return ClosedKey(*_CLOSED_KEY.unpack(data))


def pack_closed(state: ClosedState) -> bytes:
    """``struct closed_value``, 4 bytes."""
    return _CLOSED.pack(state)


def unpack_closed(data: bytes) -> ClosedState:
    """Inverse of :func:`pack_closed`."""
    return ClosedState(_CLOSED.unpack(data)[0])


def idle_timeout(policy: bytes) -> tuple[int, int]:
    """Vserver row and idle time-out of its flows in seconds, of a packed policy."""
    config_id, seconds = _POLICY.unpack(policy)[:2]
    return config_id, seconds


def live_flows(
    keys: bytes, values: bytes, now: int, idle_timeouts: Mapping[int, int], *, embryos: bool
) -> Iterator[tuple[int, int]]:
    """Vserver row and service id of each session among flow_key and flow, 16 and 24 bytes each, that has not timed out.

    ``now`` is CLOCK_MONOTONIC in ns, ``idle_timeouts`` are seconds by vserver row. The kernel itself finds out only
    when the next packet of a flow comes, or when another flow needs the room.
    """
    for key, (seen, service, _config_id, vserver, closing) in zip(
        _FLOW_KEY.iter_unpack(keys), _FLOW.iter_unpack(values), strict=True
    ):
        kind = key[4]
        limit = SHORT_TIMEOUT if closing or embryos else idle_timeouts.get(vserver, 0)
        if not kind & FLOW_PERSISTENCE and now - seen <= limit * 1_000_000_000:
            yield vserver, service


def pack_ring(ring: bytes) -> bytes:
    """``struct ring``: RING_SLOTS little-endian u16 service ids."""
    return checked_octets("ring", ring, RING_SIZE)


def pack_probe_out(entry: ProbeOut) -> bytes:
    """``struct probe_out_value``, 32 bytes."""
    return _PROBE_OUT.pack(
        pack_address(entry.vip),
        checked_number("ifindex", entry.ifindex, 1 << 32),
        checked_octets("mac", entry.mac, MAC_SIZE),
        checked_octets("source_mac", entry.source_mac, MAC_SIZE),
    )


def unpack_probe_out(data: bytes) -> ProbeOut:
    """Inverse of :func:`pack_probe_out`."""
    vip, ifindex, mac, source_mac = _PROBE_OUT.unpack(data)
    return ProbeOut(unpack_address(vip), ifindex, mac, source_mac)


def pack_probe_in_key(key: ProbeInKey) -> bytes:
    """``struct probe_in_key``, 24 bytes."""
    return _PROBE_IN.pack(pack_address(key.vip), checked_octets("mac", key.mac, MAC_SIZE))


def unpack_probe_in_key(data: bytes) -> ProbeInKey:
    """Inverse of :func:`pack_probe_in_key`."""
    vip, mac = _PROBE_IN.unpack(data)
    return ProbeInKey(unpack_address(vip), mac)


def pack_settings(settings: ForwarderSettings) -> bytes:
    """``struct settings``, 32 bytes."""
    return _SETTINGS.pack(
        checked_octets("hash_key", settings.hash_key, 16),
        checked_number("probe_ifindex", settings.probe_ifindex, 1 << 32),
        checked_octets("probe_mac", settings.probe_mac, MAC_SIZE),
        settings.flags,
    )


def unpack_settings(data: bytes) -> ForwarderSettings:
    """Inverse of :func:`pack_settings`."""
    hash_key, probe_ifindex, probe_mac, flags = _SETTINGS.unpack(data)
    return ForwarderSettings(hash_key, probe_ifindex, probe_mac, SettingFlag(flags))


def pack_interface(mac: bytes) -> bytes:
    """``struct interface_value``, 8 bytes."""
    return _INTERFACE.pack(checked_octets("mac", mac, MAC_SIZE))


def unpack_interface(data: bytes) -> bytes:
    """Inverse of :func:`pack_interface`."""
    return bytes(_INTERFACE.unpack(data)[0])


# Bytes of each C struct, and where its members begin: what the layout test holds against the object's BTF.
SIZES = {
    "address": ADDRESS_SIZE,
    "vip_value": _VIP.size,
    "vserver_key": ADDRESS_SIZE + _VSERVER_PORT.size,
    "range_key": _RANGE_KEY.size,
    "port_prefix": _PORT_PREFIX.size,
    "port_range": _PORT_RANGE.size,
    "vserver_value": _VSERVER.size,
    "service_value": _SERVICE.size,
    "policy": _POLICY.size,
    "syn_source_key": _SYN_SOURCE_KEY.size,
    "bucket": _BUCKET.size,
    "closed_key": _CLOSED_KEY.size,
    "closed_value": _CLOSED.size,
    "flow_key": _FLOW_KEY.size,
    "flow": _FLOW.size,
    "probe_out_value": _PROBE_OUT.size,
    "probe_in_key": _PROBE_IN.size,
    "settings": _SETTINGS.size,
    "interface_value": _INTERFACE.size,
    "probe_flow_key": _PROBE_FLOW.size,
}
OFFSETS = {
    "address": {"word": 0},
    "vip_value": {"flags": 0},
    "vserver_key": {"address": 0, "port": 16, "protocol": 18, "zero": 19},
    "range_key": {"address": 0, "port": 16, "port_end": 18, "protocol": 20, "zero": 21},
    "port_prefix": {"length": 0, "address": 4, "zero": 20, "protocol": 21, "port": 22},
    "port_range": {"port": 0, "port_end": 2},
    "vserver_value": {"vserver_id": 0, "config_id": 4, "hash_fields": 8, "flags": 12, "mask": 16},
    "service_value": {"config_id": 0, "ifindex": 4, "mac": 8, "source_mac": 14, "flags": 20},
    "policy": {
        "config_id": 0,
        "idle_timeout": 4,
        "persist_timeout": 8,
        "when_down": 12,
        "persist_mask": 16,
        "syn_rate": 32,
        "syn_burst": 36,
        "source_syn_rate": 40,
        "source_syn_burst": 44,
        "source_mask": 48,
    },
    "syn_source_key": {"source": 0, "vserver": 16, "zero": 20},
    "bucket": {"full": 0},
    "closed_key": {"vserver": 0, "service": 4},
    "closed_value": {"state": 0},
    "flow_key": {"addresses": 0, "source_port": 8, "port": 10, "protocol": 12, "kind": 13, "zero": 14},
    "flow": {"seen": 0, "service": 8, "config_id": 12, "vserver": 16, "closing": 20},
    "probe_out_value": {"vip": 0, "ifindex": 16, "mac": 20, "source_mac": 26},
    "probe_in_key": {"vip": 0, "mac": 16, "zero": 22},
    "settings": {
        "hash_key": 0,
        "probe_ifindex": 16,
        "probe_mac": 20,
        "sampled": SAMPLED_OFFSET,
        "zero": 27,
        "flags": 28,
    },
    "interface_value": {"mac": 0, "zero": 6},
    "probe_flow_key": {"vip": 0, "director": 16, "id": 32, "mac": 36, "protocol": 42, "kind": 43},
}
