"""Holds the forwarder of a director on the host's network: ``python -m dataplane.container.hostnet``.

It checks the interfaces first. While it runs, the bpffs stays mounted, so the dataplane may come and go; when it is
told to end, which only the end of the whole installation does, it takes the forwarder out of the kernel.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Collection
from pathlib import Path

from pyroute2 import IPRoute

from dataplane.kernel.attach import remove_everything
from dataplane.kernel.filters import EGRESS_PARENT, INGRESS_PARENT, list_filters

PIN_DIR = Path("/sys/fs/bpf/halfpipe")
READY = Path("/tmp/ready")  # noqa: S108 - a tmpfs of this container alone
PING_GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")
UID = 999  # of the worker


def complaint(named: str, present: Collection[str]) -> str:
    """What is wrong with HALFPIPE_INTERFACES on a machine with these interfaces; empty when nothing is."""
    wanted = [name.strip() for name in named.split(",") if name.strip()]
    if not wanted:
        return (
            "HALFPIPE_INTERFACES is not set: name in .env the interface by which clients' packets come in. "
            f"This machine has {', '.join(sorted(present))}."
        )
    if missing := [name for name in wanted if name not in present]:
        return (
            f"HALFPIPE_INTERFACES names {', '.join(missing)}, which this machine does not have. "
            f"It has {', '.join(sorted(present))}."
        )
    return ""


def ping_advice(setting: str) -> str:
    """What to do so that the worker may send pings, by the sysctl's text; empty when it may."""
    low, high = (int(number) for number in setting.split())
    if low <= UID <= high:
        return ""
    return (
        "Note: monitors of type PING will fail, as this machine lets nobody send pings without privilege. "
        f"Set on the host: sysctl net.ipv4.ping_group_range='{UID} {UID}'."
    )


def interfaces_with_clsact() -> set[int]:
    """Interfaces (ifindex) that have the queueing discipline which the forwarder's filters hang on."""
    with IPRoute() as ip:
        return {qdisc["index"] for qdisc in ip.get_qdiscs() if qdisc.get_attr("TCA_KIND") == "clsact"}


def remove_clsact(ifindexes: Collection[int]) -> None:
    """Remove clsact from these interfaces where no filter hangs on it any more."""
    with IPRoute() as ip:
        for ifindex in ifindexes:
            if not any(list_filters(ip, ifindex, parent) for parent in (INGRESS_PARENT, EGRESS_PARENT)):
                ip.tc("del", "clsact", ifindex)


def main() -> int:
    """Check, wait for a signal, remove."""
    # Blocked before anything else, so that a signal which comes early is kept for sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    present = {name for _index, name in socket.if_nameindex()} - {"lo"}
    if wrong := complaint(os.environ.get("HALFPIPE_INTERFACES", ""), present):
        print(f"Halfpipe does not start: {wrong}", file=sys.stderr)
        return 1
    if advice := ping_advice(PING_GROUPS.read_text()):
        print(advice)
    others = interfaces_with_clsact()
    READY.touch()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    for line in remove_everything(PIN_DIR):
        print(line)
    remove_clsact(interfaces_with_clsact() - others)  # the forwarder leaves it, as it cannot tell who made it
    return 0


if __name__ == "__main__":
    sys.exit(main())
