"""A place for measurements: network and mounts of this process alone, which end with it.

Nothing of the machine is changed: both namespaces are new, and the kernel removes them when the process ends, however
that comes about.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataplane.lab.netns import NETNS_DIR, write_sysctls

FAR = "far"
NEAR_MAC = bytes.fromhex("02aa00000001")
EGRESS_MAC = bytes.fromhex("02bb00000001")
NEAR_IFINDEX = 1002
EGRESS_IFINDEX = 1003  # TARGET_IFINDEX of bpf/harness.bpf.c

_NO_IPV6 = "net/ipv6/conf/default/disable_ipv6"
_CLONE_NEWNS = 0x20000
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """The measurement cannot be made, or did not measure what it was meant to; the message says why."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """``bpffs`` takes pins. Frames come in at ``near`` and leave at ``egress`` to the namespace FAR."""

    bpffs: Path


def run(*command: str, text: str | None = None) -> str:
    """Output of a command. Raises BenchError with what it said when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise BenchError(f"`{' '.join(command)[:200]}` failed: {said[:400]}")
    return done.stdout


@contextmanager
def entered(folder: Path) -> Iterator[Sandbox]:
    """Move this process, which must have one thread, into namespaces of its own, for good, and connect them.

    ``near`` (:data:`NEAR_IFINDEX`) stands for the interface that clients' frames reach, ``egress``
    (:data:`EGRESS_IFINDEX`) for the one that servers are behind: a veth whose other end, ``server``, is in FAR.
    ``folder`` must exist; what is mounted there goes with the block. Raises BenchError without root.
    """
    if os.geteuid():
        raise BenchError("root is needed, to load eBPF and make network namespaces: run 'sudo make bench'")
    if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise BenchError(f"no new namespaces: {os.strerror(code)}")
    run("mount", "--make-rprivate", "/")
    NETNS_DIR.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", str(NETNS_DIR))
    bpffs = folder / "bpffs"
    bpffs.mkdir()
    run("mount", "-t", "bpf", "bpf", str(bpffs))
    try:
        _connect()
        yield Sandbox(bpffs)
    finally:
        run("umount", str(bpffs))


def _connect() -> None:
    run("ip", "netns", "add", FAR)
    # Interfaces would greet each other by IPv6, and the far end count that.
    Path("/proc/sys", _NO_IPV6).write_text("1")
    write_sysctls(FAR, {_NO_IPV6: "1"})
    near, egress = NEAR_MAC.hex(":"), EGRESS_MAC.hex(":")
    lines = [
        "link set lo up",
        f"link add near index {NEAR_IFINDEX} address {near} type veth peer name client",
        f"link add egress index {EGRESS_IFINDEX} address {egress} type veth peer name server netns {FAR}",
        *(f"link set {name} up" for name in ("near", "client", "egress")),
    ]
    run("ip", "-batch", "-", text="\n".join(lines))
    run("ip", "-n", FAR, "link", "set", "server", "up")
