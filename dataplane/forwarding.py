"""Which program forwards on an interface, tc alone or XDP before it: the rules that dataplane/kernel/modes.py follows.

The tc program is attached always. In XDP mode hp_xdp stands in front of it, finishes what it can and leaves the rest to
it, so going from one mode to the other attaches or detaches hp_xdp and there is a forwarder at every moment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Flag, StrEnum


class Mode(StrEnum):
    """What the settings ask for (all three), and what forwards on an interface (the last two)."""

    AUTO = "auto"
    TC = "tc"
    XDP = "xdp"


class XdpFeature(Flag):
    """What matters of ``enum netdev_xdp_act`` (linux/netdev.h).

    Run programs, with XDP_DROP, XDP_PASS and XDP_TX; redirect from here; send what was redirected here from elsewhere.
    """

    BASIC = 1
    REDIRECT = 2
    NDO_XMIT = 4


@dataclass(frozen=True, slots=True)
class Device:
    """An interface as far as XDP is concerned.

    ``kind`` is the kernel's name for a software device ("veth", "bond", "vlan"), empty for a network card. ``driver``
    is what ethtool calls it. ``features`` is None where the kernel does not tell (before Linux 6.3). ``master`` is the
    name of the bridge or bond that it is a port of, ``tags`` are names of VLAN interfaces upon it. ``foreign`` is an
    XDP program of somebody else, described.
    """

    ifindex: int
    name: str
    up: bool
    mtu: int
    kind: str = ""
    driver: str = ""
    features: XdpFeature | None = None
    master: str = ""
    tags: tuple[str, ...] = ()
    foreign: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of all interfaces: the mode of the settings. ``egress`` are those that services are reached by."""

    mode: Mode
    egress: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The mode of one interface and why, in words. ``refused``: XDP was demanded and cannot be had."""

    mode: Mode
    reason: str
    refused: bool = False


# Drivers that may deliver frames of other guests with sums that nobody finished, which XDP has no mark for.
_UNFINISHED_SUMS = {"vif": "Xen", "vmxnet3": "VMware", "hv_netvsc": "Hyper-V"}


def obstacle(device: Device, wish: Wish) -> str:
    """Why XDP is not for this interface, whatever the others can do; empty if it is."""
    if wish.mode is Mode.TC:
        return "the settings say tc"
    if device.foreign:
        return f"{device.foreign} is attached there, which is not ours to replace"
    return _hidden_tags(device) or _stacked(device) or _unsafe(device, wish) or _incapable(device)


def _hidden_tags(device: Device) -> str:
    # Without its tag a frame would be taken for one of the untagged network.
    if device.tags:
        return f"{', '.join(device.tags)} lies upon it, and a card takes VLAN tags out before XDP sees the frame"
    return ""


def _stacked(device: Device) -> str:
    if device.kind == "bond":
        return "XDP would see the ports of the bond, and the tables know the bond"
    return f"it is a port of {device.master}" if device.master else ""


def _unsafe(device: Device, wish: Wish) -> str:
    """What `auto` does not risk."""
    if wish.mode is not Mode.AUTO:
        return ""
    if device.kind:
        return (
            f"{device.kind} is a virtual device: its frames may carry unfinished checksums, which XDP would send on as "
            "they are"
        )
    if device.driver in _UNFINISHED_SUMS:
        return f"frames of other {_UNFINISHED_SUMS[device.driver]} guests may carry unfinished checksums"
    return ""


def _incapable(device: Device) -> str:
    if device.features is not None and XdpFeature.BASIC not in device.features:
        return f"the driver{f' {device.driver}' if device.driver else ''} has no native XDP"
    return ""


def path_obstacle(device: Device, devices: Mapping[int, Device], wish: Wish) -> str:
    """Why frames that arrive here could not be sent to the services by XDP; empty if they can.

    Services behind the interface itself need no redirect (XDP_TX). A veth loses such frames unless its other end has
    an XDP program (drivers/net/veth.c); what can be seen from here is that it has neither that nor GRO.
    """
    if device.kind == "veth" and device.ifindex in wish.egress and not can_send(device.ifindex, devices):
        return "the other end of this veth takes nothing from XDP: it needs an XDP program of its own"
    others = sorted(wish.egress - {device.ifindex})
    if not others:
        return ""
    if device.features is None:
        if wish.mode is Mode.XDP:
            return ""
        return "services are behind other interfaces, and the kernel does not tell whether XDP can send there"
    if XdpFeature.REDIRECT not in device.features:
        return "services are behind other interfaces, and the driver cannot redirect"
    return "; ".join(
        f"services are behind {name_of(index, devices)}, which cannot send frames from XDP"
        for index in others
        if not can_send(index, devices)
    )


def can_send(ifindex: int, devices: Mapping[int, Device]) -> bool:
    """Whether an interface sends what XDP programs of other interfaces redirect to it, as far as the kernel tells."""
    device = devices.get(ifindex)
    return device is not None and device.features is not None and XdpFeature.NDO_XMIT in device.features


def name_of(ifindex: int, devices: Mapping[int, Device]) -> str:
    """Name of an interface, or its number when it is gone."""
    return devices[ifindex].name if ifindex in devices else f"interface {ifindex}"


def without_program(device: Device) -> Device:
    """The interface as it may be once our program has left it: some drivers send for others only with a program."""
    if device.features is None:
        return device
    return replace(device, features=device.features & ~XdpFeature.NDO_XMIT)


def summary(modes: Collection[Forwarding]) -> str:
    """One word for all interfaces of a director: tc, xdp, or "xdp, tc"."""
    return ", ".join(mode for mode in (Mode.XDP, Mode.TC) if any(item.mode is mode for item in modes)) or Mode.TC
