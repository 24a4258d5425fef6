"""What the kernel tells about interfaces that matters to XDP: features, drivers, what lies upon them, what is attached.

Features come from the generic netlink family "netdev" (Documentation/netlink/specs/netdev.yaml, Linux 6.3), drivers
from ethtool's ioctl (linux/ethtool.h).
"""

from __future__ import annotations

import ctypes as c
import fcntl
import socket
import struct
from collections.abc import Mapping
from errno import ENOENT, EOPNOTSUPP
from typing import Any

from pyroute2 import IPRoute, NetlinkError
from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.generic import GenericNetlinkSocket

from dataplane.forwarding import Device, XdpFeature
from dataplane.kernel.xdp import Attached, attached_to, is_ours

_NETDEV_CMD_DEV_GET = 1
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 3
_DRIVER_INFO_SIZE = 196  # struct ethtool_drvinfo
_UP_AND_RUNNING = 0x41
_KNOWN = XdpFeature.BASIC | XdpFeature.REDIRECT | XdpFeature.NDO_XMIT


class _Device(genlmsg):  # type: ignore[misc] # pyroute2 has no types
    """``NETDEV_CMD_DEV_GET``, as far as it is read."""

    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


class _Netdev(GenericNetlinkSocket):  # type: ignore[misc] # pyroute2 has no types
    """A socket of the family."""

    def features(self) -> dict[int, XdpFeature]:
        """Features by ifindex, of the socket's network namespace."""
        request = _Device()
        request["cmd"], request["version"] = _NETDEV_CMD_DEV_GET, 1
        found = {}
        for answer in self.nlm_request(request, msg_type=self.prid, msg_flags=NLM_F_REQUEST | NLM_F_DUMP):
            bits = answer.get_attr("NETDEV_A_DEV_XDP_FEATURES") or 0
            found[answer.get_attr("NETDEV_A_DEV_IFINDEX")] = XdpFeature(bits & _KNOWN.value)
        return found


def driver_name(name: str) -> str:
    """What ethtool calls the driver of an interface in the present network namespace; empty if it does not tell."""
    information = c.create_string_buffer(struct.pack("=I", _ETHTOOL_GDRVINFO), _DRIVER_INFO_SIZE)
    request = struct.pack("@16sP16x", name.encode(), c.addressof(information))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError:  # no driver, or one that does not answer
            return ""
    return information.raw[4:36].split(b"\0")[0].decode(errors="replace")


class DeviceReader:
    """Reads the interfaces of one network namespace, that of ``ip`` and of the thread that reads."""

    def __init__(self, ip: IPRoute) -> None:
        self._ip = ip
        self._netdev: _Netdev | None = None
        self._tells = True
        self._drivers: dict[tuple[int, str], str] = {}

    def read(self) -> tuple[dict[int, Device], dict[int, Attached]]:
        """Every interface, and the XDP programs attached there, by ifindex. Raises OSError, NetlinkError."""
        links = {link["index"]: link for link in self._ip.get_links()}
        features = self.features()
        there = {index: found for index, link in links.items() if (found := attached_to(link)) is not None}
        names = {index: str(link.get_attr("IFLA_IFNAME")) for index, link in links.items()}
        tags = _vlan_interfaces(links, names)
        self._drivers = {item: self._drivers.get(item) or driver_name(item[1]) for item in names.items()}
        devices = {
            index: Device(
                ifindex=index,
                name=names[index],
                up=link["flags"] & _UP_AND_RUNNING == _UP_AND_RUNNING,
                mtu=link.get_attr("IFLA_MTU") or 0,
                kind=_kind(link),
                driver=self._drivers[index, names[index]],
                features=None if features is None else features.get(index, XdpFeature(0)),
                master=_name_of(link.get_attr("IFLA_MASTER"), names),
                tags=tags.get(index, ()),
                foreign="" if index not in there or is_ours(there[index]) else there[index].description,
            )
            for index, link in links.items()
        }
        return devices, there

    def features(self) -> dict[int, XdpFeature] | None:
        """XDP features by ifindex; None from a kernel that does not tell. Raises NetlinkError."""
        if self._netdev is None and self._tells:
            self._netdev = _open_netdev()
            self._tells = self._netdev is not None
        return self._netdev.features() if self._netdev is not None else None

    def close(self) -> None:
        """Close the socket that was opened here."""
        if self._netdev is not None:
            self._netdev.close()
            self._netdev = None


def _open_netdev() -> _Netdev | None:
    """A socket of the family; None if the kernel has none."""
    netdev = _Netdev()
    # pyroute2 would log an unknown family as an error
    netdev.asyncore.module_err_level = "debug"
    try:
        netdev.bind("netdev", _Device)
    except NetlinkError as error:
        netdev.close()
        if error.code in (ENOENT, EOPNOTSUPP):
            return None
        raise
    except BaseException:
        netdev.close()
        raise
    return netdev


def _vlan_interfaces(links: Mapping[int, Any], names: Mapping[int, str]) -> dict[int, tuple[str, ...]]:
    """Names of the VLAN interfaces upon each interface of the same network namespace."""
    found: dict[int, tuple[str, ...]] = {}
    for index, link in sorted(links.items()):
        # One that lies upon an interface elsewhere has that one's number there
        if _kind(link) == "vlan" and link.get_attr("IFLA_LINK_NETNSID") is None:
            below = link.get_attr("IFLA_LINK")
            found[below] = (*found.get(below, ()), names[index])
    return found


def _kind(link: Any) -> str:
    information = link.get_attr("IFLA_LINKINFO")
    return (information.get_attr("IFLA_INFO_KIND") or "") if information is not None else ""


def _name_of(index: int | None, names: Mapping[int, str]) -> str:
    return names.get(index, f"interface {index}") if index else ""
