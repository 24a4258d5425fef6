"""Attaches XDP programs in native mode by netlink (IFLA_XDP, linux/if_link.h), and only where nobody else's is.

What is attached so belongs to the interface and stays when the process ends. Each change names the program that it
replaces (IFLA_XDP_EXPECTED_FD), so the kernel refuses it if somebody else's has come there meanwhile.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from errno import EEXIST, ENODEV
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from dataplane.kernel.libbpf import get_program, load_instructions, program_info
from dataplane.kernel.loader import XDP

# linux/if_link.h
_UPDATE_IF_NOEXIST, _DRIVER_MODE, _REPLACE = 1 << 0, 1 << 2, 1 << 4
_NATIVE = "xdp"
# Attached, it passes everything: some drivers send what others redirect to them only while they have a program.
BRIDGEHEAD = "hp_xdp_pass"
_PROGRAM_TYPE_XDP = 6
_HAS_FRAGMENTS = 1 << 5  # BPF_F_XDP_HAS_FRAGS: for frames of several pages, as hp_xdp
_RETURN_PASS = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit


@dataclass(frozen=True, slots=True)
class Attached:
    """An XDP program that is attached; ``id`` and ``name`` are 0 and empty where the kernel names no single one."""

    id: int
    name: str
    native: bool

    @property
    def description(self) -> str:
        """What it is, for people."""
        how = "" if self.native else " in generic mode"
        return f"XDP program {self.name or 'of unknown name'} (id {self.id}){how}"


def attached_to(link: Any) -> Attached | None:
    """The XDP program that a link message tells of."""
    xdp = link.get_attr("IFLA_XDP")
    mode = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp is not None else None
    if mode in (None, 0, "None"):
        return None
    program_id = xdp.get_attr("IFLA_XDP_PROG_ID") or 0
    return Attached(program_id, _name(program_id), mode in (_NATIVE, 1))


def _name(program_id: int) -> str:
    try:
        fd = get_program(program_id)
    except FileNotFoundError:
        return ""
    try:
        return program_info(fd).name
    finally:
        os.close(fd)


def is_ours(there: Attached) -> bool:
    """Whether the forwarder attached this, of whatever version."""
    return there.native and there.name in (XDP, BRIDGEHEAD)


def load_bridgehead() -> int:
    """A program that passes every frame on; the caller closes the descriptor. Raises OSError."""
    return load_instructions(_PROGRAM_TYPE_XDP, BRIDGEHEAD, _RETURN_PASS, _HAS_FRAGMENTS)


def attach(ifindex: int, program_fd: int, there: Attached | None) -> None:
    """Put the program in the place of ``there`` at once, or of none.

    Raises OSError with the driver's words, where it has some: it refuses, or ``there`` is not there any more.
    """
    _set(ifindex, program_fd, there)


def detach(ifindex: int, there: Attached) -> None:
    """Take ``there`` away; one that is gone already is no error. Raises OSError when the kernel refuses."""
    try:
        _set(ifindex, -1, there)
    except FileNotFoundError:  # its program is gone, so it is not attached anywhere
        return
    except OSError as error:
        if error.errno not in (ENODEV, EEXIST):  # the interface is gone, or nothing or another program is there
            raise


def _set(ifindex: int, program_fd: int, there: Attached | None) -> None:
    expected = get_program(there.id) if there else -1
    flags = _DRIVER_MODE | (_REPLACE if there else _UPDATE_IF_NOEXIST)
    attributes = [("IFLA_XDP_FD", program_fd), ("IFLA_XDP_FLAGS", flags)]
    if there:
        attributes.append(("IFLA_XDP_EXPECTED_FD", expected))
    try:
        # A socket of its own, since this one is told the driver's words
        with IPRoute(ext_ack=True) as ip:
            ip.link("set", index=ifindex, xdp={"attrs": attributes})
    except NetlinkError as error:
        words = error.args[1] if len(error.args) > 1 else ""
        raise OSError(error.code, words or os.strerror(error.code)) from error
    finally:
        if expected >= 0:
            os.close(expected)
