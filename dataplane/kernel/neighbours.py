"""The kernel's neighbour table, behind :class:`dataplane.ports.Neighbours`, and news of its changes."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from errno import EAGAIN, ENOBUFS, ENOENT
from ipaddress import IPv4Address, IPv6Address

from pyroute2 import IPRoute, NetlinkError

from dataplane.kernel.errors import as_oserror
from dataplane.kernel.proxies import PROTOCOL
from dataplane.kernel.rtnetlink import Entry, neighbours
from dataplane.ports import Neighbour
from dataplane.tables import IPAddress

_MANAGED = 1  # NTF_EXT_MANAGED: the kernel resolves the entry and keeps it fresh (since 5.16)
_FAILED = 0x20
_VALID = 0xDE  # NUD_VALID: the link-layer address may be used
_SETTLE_SECONDS = 0.02
_RTMGRP_LINK, _RTMGRP_NEIGH, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x1, 0x4, 0x10, 0x100
_GROUPS = _RTMGRP_LINK | _RTMGRP_NEIGH | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR

log = logging.getLogger(__name__)

Target = tuple[int, IPAddress]


class KernelNeighbours:
    """Implements :class:`dataplane.ports.Neighbours`.

    Entries are marked with our protocol number, so that a new process finds those it need not keep any longer.
    """

    def __init__(self, ip: IPRoute) -> None:
        self._ip = ip
        self._watched: set[Target] = set()

    @as_oserror
    def watch(self, targets: Collection[Target]) -> None:
        """Have the kernel resolve and keep exactly these pairs. Raises OSError, e.g. when an interface is gone."""
        self._watched = set(targets)
        managed = {target for target, entry in _dump() if _is_ours(entry)}
        for ifindex, address in managed - self._watched:
            try:
                self._ip.neigh("del", dst=str(address), ifindex=ifindex)
            except NetlinkError as error:
                if error.code != ENOENT:
                    raise
        for ifindex, address in self._watched - managed:
            self._ip.neigh("replace", dst=str(address), ifindex=ifindex, state=0, flags_ext=_MANAGED, protocol=PROTOCOL)

    def table(self) -> dict[Target, Neighbour]:
        """Current entries of the watched pairs. Raises OSError."""
        return {target: _neighbour(target, entry) for target, entry in _dump() if target in self._watched}


def _dump() -> Iterator[tuple[Target, Entry]]:
    for family, kind in ((socket.AF_INET, IPv4Address), (socket.AF_INET6, IPv6Address)):
        for entry in neighbours(family):
            yield (entry.ifindex, kind(entry.address)), entry


def _is_ours(entry: Entry) -> bool:
    return bool(entry.flags_ext & _MANAGED) and entry.protocol == PROTOCOL


def _neighbour(target: Target, entry: Entry) -> Neighbour:
    mac = entry.mac if entry.state & _VALID and entry.mac else None
    return Neighbour(target[0], target[1], mac, failed=bool(entry.state & _FAILED))


class NeighbourEvents:
    """A thread that calls ``callback`` after any change of neighbours, links or addresses.

    The callback learns only that something changed: it must look for itself, since the kernel may drop messages when
    many come at once. It runs in the thread; what it raises is logged.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setblocking(False)
        self._socket.bind((0, _GROUPS))
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="neighbour-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close its socket; a second call does nothing."""
        if self._stop < 0:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._stop)
        self._stop = -1

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket.fileno(), self._stop], [], [])
            if self._stop in ready:
                return
            time.sleep(_SETTLE_SECONDS)  # changes come in bursts
            self._drain()
            try:
                self._callback()
            except Exception:
                log.exception("the callback for neighbour events failed")

    def _drain(self) -> None:
        while True:
            try:
                self._socket.recv(1 << 16)
            except OSError as error:
                if error.errno == ENOBUFS:  # messages were lost: one more reason to look
                    continue
                if error.errno != EAGAIN:
                    log.exception("reading neighbour events failed")
                return
