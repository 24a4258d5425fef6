"""Can this machine run the lab? Each answer is one sentence, found by trying rather than by asking for versions."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from dataplane.lab.errors import LabError
from dataplane.lab.netns import NETNS_DIR
from dataplane.lab.topology import ip, quietly

TOOLS = {
    "ip": "iproute2",
    "ss": "iproute2",
    "bpftool": "bpftool",
    "redis-server": "redis-server",
    "in.tftpd": "tftpd-hpa",
    "nsenter": "util-linux",
    "unshare": "mount",
    "setpriv": "util-linux",
    "mount": "mount",
}


def require_root() -> None:
    """Raise LabError unless this is root with the capability to administer the system."""
    if os.geteuid() != 0:
        raise LabError("The lab needs root, to make network namespaces and load eBPF: run `sudo make lab`.")
    status = Path("/proc/self/status").read_text()
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    missing = [name for name, bit in (("NET_ADMIN", 12), ("SYS_ADMIN", 21)) if not effective >> bit & 1]
    if missing:
        raise LabError(
            f"This root lacks the capability {' and '.join(missing)} (a container, perhaps): "
            "the lab needs a machine, or a privileged container."
        )


def require_tools() -> None:
    """Raise LabError when a program is missing."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        raise LabError(f"Programs are missing: run `make setup`, or `apt-get install {' '.join(sorted(missing))}`.")


def require_port(address: str, port: int) -> None:
    """Raise LabError when the console's TCP port cannot be had; names the program that has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise LabError(f"Port {port} on {address} cannot be used: {error.strerror}.") from error
            raise LabError(
                f"Port {port} on {address} is in use{_holder(port)}: stop that program, "
                f"or choose another port with `make lab PORT={port + 1}`."
            ) from error


def _holder(port: int) -> str:
    listing = quietly(["ss", "-Hltnp", f"sport = :{port}"]).stdout
    if "users:((" not in listing:
        return ""
    name, pid = listing.split("users:((", 1)[1].split(",")[:2]
    return f" by {name.strip(chr(34))} ({pid.replace('=', ' ')})"


def mount_bpffs(directory: Path) -> None:
    """Mount a bpffs of our own; raises LabError when the kernel has none."""
    directory.mkdir(mode=0o700, exist_ok=True)
    _try(
        ["mount", "-t", "bpf", "-o", "mode=0700", "halfpipe-lab", str(directory)],
        "bpffs (CONFIG_BPF_SYSCALL)",
    )


def require_kernel_features(bpffs: Path, scratch: str) -> None:
    """Try in a namespace named ``scratch`` all that the lab and the forwarder need; raises LabError for the first lack.

    ``bpffs`` is a mounted BPF file system. Nothing is left.
    """
    pin = bpffs / "feature-check"
    trials: tuple[tuple[str, Callable[[], object]], ...] = (
        ("network namespaces (CONFIG_NET_NS)", lambda: ip("netns", "add", scratch)),
        ("veth (module veth)", lambda: ip("-n", scratch, "link", "add", "v0", "type", "veth", "peer", "name", "v1")),
        ("bridges (module bridge)", lambda: ip("-n", scratch, "link", "add", "b0", "type", "bridge")),
        ("IPv6 (ipv6.disable=0)", lambda: ip("-n", scratch, "address", "add", "fd77::1/64", "dev", "v0", "nodad")),
        ("clsact (module sch_ingress)", lambda: _tc(scratch, "qdisc", "add", "dev", "v0", "clsact")),
        (
            "BPF classifiers (module cls_bpf)",
            lambda: _tc(scratch, "filter", "add", "dev", "v0", "ingress", "bpf", "da", "bytecode", "1,6 0 0 0"),
        ),
        (
            "BPF maps and pins (CONFIG_BPF_SYSCALL)",
            lambda: _try(
                f"bpftool map create {pin} type hash key 4 value 4 entries 1 name check".split(),
                "BPF maps",
            ),
        ),
    )
    try:
        for feature, trial in trials:
            try:
                trial()
            except LabError as error:
                raise LabError(f"This kernel lacks {feature}, which the lab needs. {error}") from error
    finally:
        pin.unlink(missing_ok=True)
        if (NETNS_DIR / scratch).exists():
            ip("netns", "delete", scratch)


def _tc(namespace: str, *arguments: str) -> None:
    _try(["tc", "-n", namespace, *arguments], arguments[-1])


def _try(command: list[str], what: str) -> None:
    done = quietly(command)
    if done.returncode != 0:
        reason = " ".join((done.stderr or done.stdout).split())
        raise LabError(f"No {what}: `{' '.join(command)}` said: {reason}.")
