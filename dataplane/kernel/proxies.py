"""Proxy neighbour entries: they make the kernel receive solicitations for addresses it does not hold.

The kernel joins the solicited-node group of each (ndisc.c, pndisc_constructor), which also opens the hardware's
multicast filter and tells MLD-snooping switches. They outlive this process. Without the proxy_ndp setting, which
stays as it is, the kernel itself answers for none of them.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import ENOENT
from ipaddress import IPv6Address

from pyroute2 import IPRoute, NetlinkError

# Marks entries as ours (NDA_PROTOCOL); no routing daemon has this number in /etc/iproute2/rt_protos.
PROTOCOL = 72
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x301
_NTF_PROXY = 8
_NDA_DST, _NDA_PROTOCOL = 1, 12
_HEADER = struct.Struct("=IHHII")
_NDMSG = struct.Struct("=BxxxiHBB")
_ATTRIBUTE = struct.Struct("=HH")


def list_proxies() -> set[tuple[int, IPv6Address]]:
    """Our entries as (ifindex, address).

    Asked for by hand: the request must carry NTF_PROXY, and pyroute2 0.9 takes flags of a dump for a filter only.
    """
    found: set[tuple[int, IPv6Address]] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
        netlink.bind((0, 0))
        body = _NDMSG.pack(socket.AF_INET6, 0, 0, _NTF_PROXY, 0)
        netlink.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETNEIGH, _REQUEST_DUMP, 1, 0) + body)
        while True:
            data = netlink.recv(1 << 18)
            while data:
                length, kind, *_ = _HEADER.unpack_from(data)
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    error = -struct.unpack_from("=i", data, _HEADER.size)[0]
                    raise OSError(error, f"listing proxy neighbours: {os.strerror(error)}")
                entry = _parse(data[_HEADER.size : length]) if kind == _RTM_NEWNEIGH else None
                if entry:
                    found.add(entry)
                data = data[_align(length) :]


def _parse(body: bytes) -> tuple[int, IPv6Address] | None:
    family, ifindex, _, flags, _ = _NDMSG.unpack_from(body)
    attributes: dict[int, bytes] = {}
    position = _NDMSG.size
    while position + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, position)
        attributes[kind] = body[position + _ATTRIBUTE.size : position + length]
        position += _align(max(length, _ATTRIBUTE.size))
    ours = attributes.get(_NDA_PROTOCOL, b"\0")[0] == PROTOCOL
    if family != socket.AF_INET6 or not flags & _NTF_PROXY or not ours:
        return None
    return ifindex, IPv6Address(attributes[_NDA_DST])


def _align(length: int) -> int:
    return (length + 3) & ~3


def add_proxy(ip: IPRoute, ifindex: int, address: IPv6Address) -> None:
    """Create the entry, or mark an existing one as ours."""
    ip.neigh(
        "replace",
        dst=str(address),
        ifindex=ifindex,
        family=socket.AF_INET6,
        flags=_NTF_PROXY,
        protocol=PROTOCOL,
        state=0,
    )


def remove_proxy(ip: IPRoute, ifindex: int, address: IPv6Address) -> None:
    """Remove the entry; an absent one is no error."""
    try:
        ip.neigh("del", dst=str(address), ifindex=ifindex, family=socket.AF_INET6, flags=_NTF_PROXY)
    except NetlinkError as error:
        if error.code != ENOENT:
            raise
