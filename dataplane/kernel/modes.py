"""Puts hp_xdp in front of the tc program where it is wanted and can do its work, and takes it away elsewhere.

XDP programs redirect only to interfaces whose driver sends such frames, and several drivers do so only while they have
an XDP program themselves. So the interfaces of services get a program that passes everything first, a bridgehead; when
all can send, hp_xdp takes its place. The way back is the same: no frame is redirected to where it cannot leave.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pyroute2 import IPRoute

from dataplane.forwarding import Device, Forwarding, Mode, Wish, can_send, obstacle, path_obstacle, without_program
from dataplane.kernel import xdp
from dataplane.kernel.devices import DeviceReader
from dataplane.kernel.libbpf import program_info
from dataplane.kernel.loader import XDP, Forwarder

# A driver that refused is asked again after so long, or when something about the interface changed.
RETRY_SECONDS = 60.0
# Frames that the former program redirected have left by then: a driver's poll takes a fraction of it.
_DRAIN_SECONDS = 0.02


@dataclass(slots=True)
class _Look:
    """Interfaces and their XDP programs as they are now; ``ours`` are the director's."""

    devices: dict[int, Device]
    there: dict[int, xdp.Attached]
    ours: frozenset[int]

    def has(self, ifindex: int, name: str = "") -> bool:
        """Whether a program of ours is attached (of this name)."""
        found = self.there.get(ifindex)
        return found is not None and xdp.is_ours(found) and name in ("", found.name)


@dataclass(slots=True)
class Modes:
    """Keeps every interface in its mode; used by one thread, in the network namespace of ``reader``."""

    forwarder: Forwarder
    reader: DeviceReader
    _bridgehead: int = -1
    _refusals: dict[int, tuple[object, str, float]] = field(default_factory=dict)
    _mute: dict[int, object] = field(default_factory=dict)  # those that send nothing for others, program or not

    def ensure(self, ours: Collection[int], wish: Wish) -> tuple[list[str], dict[int, Forwarding]]:
        """Bring each of our interfaces to its mode; a line for each thing done, and each one's mode.

        A link that is down is left as it is: some drivers take the link down for a moment when a program comes or
        goes, and that must not be the reason for the next change. Raises OSError, NetlinkError.
        """
        look = _Look(*self.reader.read(), frozenset(ours))
        reasons = self._obstacles(look, wish)
        done = self._bridge(look, wish, reasons)
        able = _fit(reasons)
        for index in able:
            reasons[index] = path_obstacle(look.devices[index], look.devices, wish)
        for index in _fit(reasons):
            if look.devices[index].up or look.has(index):
                done += self._attach(look, index, self.forwarder.xdp_fd, reasons)
        fit = _fit(reasons)
        bridgeheads = {index for index in able & wish.egress if fit - {index}}
        done += self._withdraw(look, fit, bridgeheads - fit)
        return done, {index: _forwarding(look, index, wish, reason) for index, reason in reasons.items()}

    def _obstacles(self, look: _Look, wish: Wish) -> dict[int, str]:
        """What keeps each of our interfaces from XDP, the others not considered."""
        reasons = {}
        for index in sorted(look.ours & look.devices.keys()):
            device = look.devices[index]
            reason = obstacle(device, wish)
            if not reason and self.forwarder.xdp_fd < 0:
                reason = f"the program for XDP cannot be used: {self.forwarder.xdp_error}"
            reasons[index] = reason or self._refusal(device)
        for index in look.there:
            if look.has(index) and reasons.get(index, "not ours"):
                look.devices[index] = without_program(look.devices[index])  # as it will be in a moment
        return reasons

    def _bridge(self, look: _Look, wish: Wish, reasons: dict[int, str]) -> list[str]:
        """Have interfaces of services send what others redirect to them, where that lets one more go over to XDP."""
        able = _fit(reasons)
        silent = {index for index in wish.egress if not can_send(index, look.devices)}
        ready = {index for index in silent & able if self._may_bridge(look, index)}
        users = {index for index in able if not (silent - ready - {index})}
        done = []
        for index in sorted(ready):
            if users - {index}:
                done += self._attach(look, index, self._bridgehead_fd(), reasons)
        if done:
            look.devices, look.there = self.reader.read()
            for index in ready:
                if look.has(index) and not can_send(index, look.devices):
                    self._mute[index] = _facts(look.devices[index])
        return done

    def _may_bridge(self, look: _Look, index: int) -> bool:
        device = look.devices[index]
        known = device.features is not None and self._mute.get(index) != _facts(device)
        return known and device.up and not look.has(index)

    def _attach(self, look: _Look, index: int, program_fd: int, reasons: dict[int, str]) -> list[str]:
        """Attach the program unless it is attached; what the driver has against it becomes the reason."""
        program, there = program_info(program_fd), look.there.get(index)
        if there is not None and there.id == program.id:
            return []
        try:
            xdp.attach(index, program_fd, there)
        except OSError as error:
            reasons[index] = f"the driver refused: {error.strerror}"
            self._refusals[index] = (_facts(look.devices[index]), reasons[index], time.monotonic())
            return []
        look.there[index] = xdp.Attached(program.id, program.name, native=True)
        self._refusals.pop(index, None)
        return [f"{look.devices[index].name}: {'replaced' if there else 'attached'} {program.name}"]

    def _withdraw(self, look: _Look, fit: Collection[int], bridgeheads: Collection[int]) -> list[str]:
        """Take our programs from all but ``fit``, once none of those redirects to another any more."""
        left = [index for index in sorted(look.there) if look.has(index) and index not in fit]
        if len(left) + len(fit) > 1:
            changed = [index for index in left if look.has(index, XDP)]
            for index in changed:
                xdp.attach(index, self._bridgehead_fd(), look.there[index])
                look.there[index] = xdp.Attached(program_info(self._bridgehead_fd()).id, xdp.BRIDGEHEAD, native=True)
            if changed:
                time.sleep(_DRAIN_SECONDS)
        gone = [index for index in left if index not in bridgeheads]
        for index in gone:
            xdp.detach(index, look.there.pop(index))
        return [f"{look.devices[index].name}: detached XDP" for index in gone]

    def _refusal(self, device: Device) -> str:
        """What the driver said the last time, if it would say it again."""
        facts, reason, at = self._refusals.get(device.ifindex, (None, "", 0.0))
        return reason if facts == _facts(device) and time.monotonic() < at + RETRY_SECONDS else ""

    def _bridgehead_fd(self) -> int:
        if self._bridgehead < 0:
            self._bridgehead = xdp.load_bridgehead()
        return self._bridgehead

    def close(self) -> None:
        """Give the descriptors back; what is attached stays."""
        self.reader.close()
        if self._bridgehead >= 0:
            os.close(self._bridgehead)
            self._bridgehead = -1


def remove_all(ip: IPRoute) -> list[str]:
    """Detach every XDP program of the forwarder in this network namespace; a line for each."""
    done = []
    for link in ip.get_links():
        there = xdp.attached_to(link)
        if there is not None and xdp.is_ours(there):
            xdp.detach(link["index"], there)
            done.append(f"{link.get_attr('IFLA_IFNAME')}: detached {there.name}")
    return done


def _fit(reasons: Mapping[int, str]) -> set[int]:
    """Interfaces that nothing keeps from XDP."""
    return {index for index, reason in reasons.items() if not reason}


def _facts(device: Device) -> object:
    """What may change a driver's mind, and does not change by our own doing."""
    return device.name, device.driver, device.mtu, device.master


def _forwarding(look: _Look, index: int, wish: Wish, reason: str) -> Forwarding:
    device = look.devices[index]
    if look.has(index, XDP):
        words = f"the driver {device.driver} runs XDP" if wish.mode is Mode.AUTO else "as the settings say"
        return Forwarding(Mode.XDP, words)
    return Forwarding(Mode.TC, reason or "the link is down", refused=bool(reason) and wish.mode is Mode.XDP)
