"""Interfaces and the forwarder's attachment to them, behind :class:`dataplane.ports.Links`."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from errno import ENODEV
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from dataplane.forwarding import Forwarding, Wish
from dataplane.kernel import announce, probe_device, proxies
from dataplane.kernel.devices import DeviceReader
from dataplane.kernel.errors import as_oserror
from dataplane.kernel.filters import EGRESS_PARENT, INGRESS_PARENT, ensure_filter, remove_filter
from dataplane.kernel.loader import INGRESS, PROBE, Forwarder, remove_pins
from dataplane.kernel.modes import Modes, remove_all
from dataplane.kernel.neighbours import KernelNeighbours
from dataplane.ports import Interface, ProbeRoute
from dataplane.tables import IPAddress

_LOOPBACK = 0x8
_UP_AND_RUNNING = 0x41
_PROBE_DEVICES = (probe_device.NAME, probe_device.PEER)


class KernelLinks:
    """Implements :class:`dataplane.ports.Links` in the network namespace the process runs in.

    Every method raises OSError when the kernel refuses.
    """

    def __init__(self, forwarder: Forwarder, ip: IPRoute) -> None:
        self._forwarder = forwarder
        self._ip = ip
        self._modes = Modes(forwarder, DeviceReader(ip))

    @as_oserror
    def interfaces(self) -> tuple[Interface, ...]:
        """Every Ethernet interface but loopback and the probe device, by ifindex."""
        return tuple(i for i in _read_interfaces(self._ip) if i.name not in _PROBE_DEVICES)

    @as_oserror
    def ensure_attached(self, ifindexes: Collection[int]) -> list[str]:
        """Attach the forwarder there, and nowhere else; return a line for each thing that had to be done."""
        done = []
        present = {interface.ifindex: interface.name for interface in self.interfaces()}
        missing = sorted(set(ifindexes) - present.keys())
        for ifindex, name in present.items():
            if ifindex in ifindexes:
                change = ensure_filter(self._ip, ifindex, INGRESS_PARENT, self._forwarder.ingress_fd, INGRESS)
                if change:
                    done.append(f"{name}: {change}")
            elif remove_filter(self._ip, ifindex, INGRESS_PARENT, INGRESS):
                done.append(f"{name}: detached {INGRESS}")
        if missing:
            raise OSError(ENODEV, f"no Ethernet interface has ifindex {', '.join(map(str, missing))}")
        return done

    @as_oserror
    def ensure_modes(self, ifindexes: Collection[int], wish: Wish) -> tuple[list[str], Mapping[int, Forwarding]]:
        """Have XDP forward on these interfaces where it is wished and possible; a line for each thing done."""
        return self._modes.ensure(ifindexes, wish)

    def close(self) -> None:
        """Give descriptors back; what is attached stays."""
        self._modes.close()

    @as_oserror
    def ensure_probe_device(self, routes: Collection[ProbeRoute]) -> Interface:
        """Make the probe device, its program and its routes if they are missing or differ."""
        ifindex = probe_device.ensure(self._ip, self._forwarder.probe_fd, routes)
        return next(interface for interface in _read_interfaces(self._ip) if interface.ifindex == ifindex)

    @as_oserror
    def announce(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        """Send a gratuitous ARP or an unsolicited neighbour advertisement for each address."""
        interface = next((i for i in self.interfaces() if i.ifindex == ifindex), None)
        if interface is None:
            raise OSError(ENODEV, f"no Ethernet interface has ifindex {ifindex}")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
            link.bind((interface.name, 0))
            for address in sorted(addresses, key=lambda a: a.packed):
                if isinstance(address, IPv6Address):
                    link.send(announce.neighbour_advertisement(interface.mac, address))
                else:
                    link.send(announce.arp_announcement(interface.mac, address))

    @as_oserror
    def ensure_solicited(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        """Receive neighbour solicitations for exactly these IPv6 addresses on this interface; IPv4 needs nothing."""
        wanted = {address for address in addresses if isinstance(address, IPv6Address)}
        present = {address for index, address in proxies.list_proxies() if index == ifindex}
        for address in present - wanted:
            proxies.remove_proxy(self._ip, ifindex, address)
        for address in wanted - present:
            proxies.add_proxy(self._ip, ifindex, address)


def _read_interfaces(ip: IPRoute) -> list[Interface]:
    addresses: dict[int, list[IPv4Interface | IPv6Interface]] = {}
    for message in ip.get_addr():
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        addresses.setdefault(message["index"], []).append(ip_interface(f"{text}/{message['prefixlen']}"))
    return sorted(
        (
            Interface(
                ifindex=link["index"],
                name=link.get_attr("IFLA_IFNAME"),
                mac=mac,
                up=link["flags"] & _UP_AND_RUNNING == _UP_AND_RUNNING,
                addresses=tuple(sorted(addresses.get(link["index"], []), key=lambda a: (a.version, a))),
            )
            for link in ip.get_links()
            if not link["flags"] & _LOOPBACK and (mac := _mac(link)) is not None
        ),
        key=lambda interface: interface.ifindex,
    )


def _mac(link: Any) -> bytes | None:
    """None for what is not Ethernet: the forwarder knows no other frames."""
    text = link.get_attr("IFLA_ADDRESS")
    mac = bytes.fromhex(text.replace(":", "")) if text else b""
    return mac if len(mac) == 6 else None


@as_oserror
def remove_everything(pin_dir: Path) -> list[str]:
    """Take the forwarder out of this network namespace: filters, probe device, proxy and neighbour entries, pins.

    Returns a line for each thing removed. Needs no loaded forwarder.
    """
    done: list[str] = []
    with IPRoute() as ip:
        done += remove_all(ip)
        for interface in _read_interfaces(ip):
            for parent, name in ((INGRESS_PARENT, INGRESS), (EGRESS_PARENT, PROBE)):
                if remove_filter(ip, interface.ifindex, parent, name):
                    done.append(f"{interface.name}: detached {name}")
        if probe_device.remove(ip):
            done.append(f"deleted {probe_device.NAME}")
        for ifindex, address in sorted(proxies.list_proxies()):
            proxies.remove_proxy(ip, ifindex, address)
            done.append(f"interface {ifindex}: no longer solicited for {address}")
        KernelNeighbours(ip).watch(())
    if pin_dir.is_dir() and any(pin_dir.iterdir()):
        done.append(f"unpinned {pin_dir}")
    remove_pins(pin_dir)
    return done
