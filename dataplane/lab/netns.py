"""Enter network namespaces by name, as `ip netns` keeps them."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NETNS_DIR = Path("/run/netns")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Put the calling thread into a network namespace for the block; its mount namespace stays.

    Raises FileNotFoundError when there is no namespace of that name, and OSError when it may not be entered.
    """
    with Path("/proc/thread-self/ns/net").open() as home, (NETNS_DIR / name).open() as target:
        _setns(target.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def open_socket(name: str, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """Return a socket of that namespace; it stays there wherever the thread goes."""
    with entered(name):
        return socket.socket(family, kind)


def write_sysctls(name: str, values: dict[str, str]) -> None:
    """Write values below /proc/sys of a namespace, keys with slashes (``net/ipv4/ip_forward``)."""
    with entered(name):
        for key, value in values.items():
            Path("/proc/sys", key).write_text(value)
