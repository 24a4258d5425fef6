"""Proxy neighbour entries: they make the kernel receive solicitations for addresses it does not hold.

The kernel joins the solicited-node group of each (ndisc.c, pndisc_constructor), which also opens the hardware's
multicast filter and tells MLD-snooping switches. They outlive this process. Without the proxy_ndp setting, which
stays as it is, the kernel itself answers for none of them.
"""

from __future__ import annotations

import socket
from errno import ENOENT
from ipaddress import IPv6Address

from pyroute2 import IPRoute, NetlinkError

from dataplane.kernel import rtnetlink

# Marks entries as ours (NDA_PROTOCOL); no routing daemon has this number in /etc/iproute2/rt_protos.
PROTOCOL = 72
_NTF_PROXY = 8


def list_proxies() -> set[tuple[int, IPv6Address]]:
    """Our entries as (ifindex, address). Raises OSError."""
    return {
        (entry.ifindex, IPv6Address(entry.address))
        for entry in rtnetlink.proxies(socket.AF_INET6)
        if entry.protocol == PROTOCOL
    }


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
