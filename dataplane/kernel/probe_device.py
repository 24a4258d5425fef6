"""The device that health probes leave by: one end of a veth pair, with hp_probe on its egress.

The kernel routes the probe networks to it; hp_probe readdresses each packet and redirects it to the server's link, and
hp_ingress hands the answers back to it. So answers come in where the route points, as a strict rp_filter wants, and
forwarded frames never meet an egress program.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address, ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import IPRoute

from dataplane.kernel.filters import EGRESS_PARENT, ensure_filter
from dataplane.kernel.loader import PROBE
from dataplane.ports import ProbeRoute

NAME = "hp-probe0"
PEER = "hp-probe1"
_MAIN_TABLE = 254
_SCOPE_LINK = 253
_NO_ARP = 0x80
_UP = 0x1
_ADDRESS_GENERATION_NONE = 1
_NO_ADDRESS = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDRESS_GENERATION_NONE)]})]}


def find(ip: IPRoute, name: str) -> Any | None:
    """The link message of this name, or None."""
    return next((link for link in ip.get_links() if link.get_attr("IFLA_IFNAME") == name), None)


def ensure(ip: IPRoute, program_fd: int, routes: Collection[ProbeRoute]) -> int:
    """Make whatever is missing or different; return the ifindex. Raises OSError or pyroute2's NetlinkError."""
    device = find(ip, NAME)
    if device is None:
        ip.link("add", ifname=NAME, kind="veth", peer={"ifname": PEER})
        device = find(ip, NAME)
    if device is None:
        raise FileNotFoundError(f"{NAME} is gone as soon as it was made")
    for name in (NAME, PEER):
        end = find(ip, name)
        if end is None:
            raise FileNotFoundError(f"{PEER}, the other end of {NAME}, is not here: delete {NAME}")
        if end["flags"] & (_NO_ARP | _UP) != _NO_ARP | _UP:
            # Before it comes up, or the kernel gives it an address and asks for routers
            ip.link("set", index=end["index"], IFLA_AF_SPEC=_NO_ADDRESS)
            ip.link("set", index=end["index"], flags=_NO_ARP | _UP, change=_NO_ARP | _UP)
    ifindex = int(device["index"])
    if any(ip_network(route.network).version == 6 for route in routes):
        _enable_ipv6()
    ensure_filter(ip, ifindex, EGRESS_PARENT, program_fd, PROBE)
    _ensure_routes(ip, ifindex, routes)
    return ifindex


def _enable_ipv6() -> None:
    """For hosts that give new devices no IPv6. Written only if need be, since /proc/sys may be read-only."""
    setting = Path(f"/proc/sys/net/ipv6/conf/{NAME}/disable_ipv6")
    if setting.read_text().strip() != "0":
        setting.write_text("0")


def _ensure_routes(ip: IPRoute, ifindex: int, routes: Collection[ProbeRoute]) -> None:
    wanted = {(ip_network(route.network), ip_address(str(route.source))) for route in routes}
    present = set()
    for message in [*ip.get_routes(family=AF_INET), *ip.get_routes(family=AF_INET6)]:
        if message.get_attr("RTA_OIF") != ifindex or message.get_attr("RTA_TABLE") != _MAIN_TABLE:
            continue
        destination = message.get_attr("RTA_DST")
        network = ip_network(f"{destination}/{message['dst_len']}") if destination else None
        source = message.get_attr("RTA_PREFSRC")
        entry = (network, ip_address(source) if source else None)
        if entry in wanted:
            present.add(entry)
        elif network is not None:
            # The scope must be given: the kernel looks for an equal one
            family, scope = message["family"], message["scope"]
            ip.route("del", dst=str(network), oif=ifindex, table=_MAIN_TABLE, family=family, scope=scope)
    for network, source in wanted - present:
        options = {"scope": _SCOPE_LINK} if network.version == 4 else {}
        ip.route("replace", dst=str(network), oif=ifindex, prefsrc=str(source), **options)


def remove(ip: IPRoute) -> bool:
    """Delete the device, and with it the routes and the filter; False if there is none."""
    device = find(ip, NAME)
    if device is None:
        return False
    ip.link("del", index=device["index"])
    return True
