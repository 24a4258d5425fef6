"""The forwarder's tc filters: cls_bpf with direct action, at one place of clsact that is ours (tc-bpf(8)).

A filter is known as ours by its name, priority and handle. Others' filters and an existing clsact are left alone, and
clsact itself stays when our filter goes: somebody else may have made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EEXIST, EINVAL, ENODEV, ENOENT
from socket import htons
from typing import Any

from pyroute2 import IPRoute, NetlinkError
from pyroute2.netlink.rtnl.tcmsg import sched_bpf

from dataplane.kernel.libbpf import program_info

INGRESS_PARENT = 0xFFFFFFF2
EGRESS_PARENT = 0xFFFFFFF3
# Early, with room for somebody's filters in front; a filter's priority and handle make `replace` swap it in place.
PRIORITY = 40
HANDLE = 1
_ETH_P_ALL = 3

# pyroute2 0.9 stops at TCA_BPF_FLAGS (linux/pkt_cls.h)
if not any(name == "TCA_BPF_ID" for name, *_ in sched_bpf.options.nla_map):
    sched_bpf.options.nla_map += (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "cdata"), ("TCA_BPF_ID", "uint32"))


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as the kernel reports it. ``program_id`` is 0 unless it is a cls_bpf."""

    priority: int
    handle: int
    kind: str
    name: str
    program_id: int

    def is_ours(self, name: str) -> bool:
        """Whether the forwarder attached this."""
        return (self.kind, self.name, self.priority, self.handle) == ("bpf", name, PRIORITY, HANDLE)


def list_filters(ip: IPRoute, ifindex: int, parent: int) -> list[Filter]:
    """Filters at one side of an interface; none if it has no clsact."""
    try:
        messages = list(ip.get_filters(index=ifindex, parent=parent))
    except NetlinkError as error:
        if error.code in (ENOENT, EINVAL, ENODEV):
            return []
        raise
    return [_parse(message) for message in messages if message["handle"]]


def _parse(message: Any) -> Filter:
    options = message.get_attr("TCA_OPTIONS")
    kind = message.get_attr("TCA_KIND") or ""
    name, program_id = "", 0
    if kind == "bpf" and options is not None:
        name = options.get_attr("TCA_BPF_NAME") or ""
        program_id = options.get_attr("TCA_BPF_ID") or 0
    return Filter(message["info"] >> 16, message["handle"], kind, name, program_id)


def ensure_filter(ip: IPRoute, ifindex: int, parent: int, program_fd: int, name: str) -> str | None:
    """Attach the program unless it is attached; return what was done, or None.

    Raises:
        OSError: EEXIST if somebody else's filter has our place; otherwise what the kernel refused.

    """
    there = list_filters(ip, ifindex, parent)
    foreign = next((f for f in there if f.priority == PRIORITY and not f.is_ours(name)), None)
    if foreign:
        raise OSError(
            EEXIST,
            f"interface {ifindex}: filter {foreign.name or foreign.kind} has priority {PRIORITY}, which {name} needs",
        )
    ours = next((f for f in there if f.is_ours(name)), None)
    if ours and ours.program_id == program_info(program_fd).id:
        return None
    if not there:
        try:
            ip.tc("add", "clsact", ifindex)
        except NetlinkError as error:
            if error.code != EEXIST:
                raise
    ip.tc(
        "replace-filter",
        "bpf",
        ifindex,
        HANDLE,
        fd=program_fd,
        name=name,
        parent=parent,
        prio=PRIORITY,
        protocol=_ETH_P_ALL,
        direct_action=True,
    )
    return f"{'replaced' if ours else 'attached'} {name}"


def remove_filter(ip: IPRoute, ifindex: int, parent: int, name: str) -> bool:
    """Detach our filter if it is there."""
    if not any(f.is_ours(name) for f in list_filters(ip, ifindex, parent)):
        return False
    info = htons(_ETH_P_ALL) | PRIORITY << 16
    try:
        ip.tc("del-filter", "bpf", ifindex, HANDLE, info=info, parent=parent)
    except NetlinkError as error:
        if error.code not in (ENOENT, ENODEV, EINVAL):
            raise
        return False
    return True
