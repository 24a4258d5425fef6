"""The forwarder on a bench: tables go in, then a frame, then verdict and whole frame come out."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from dataplane.kernel import loader
from dataplane.kernel.libbpf import run_program
from dataplane.kernel.maps import KernelMaps
from dataplane.lab import netns
from dataplane.port_ranges import port_prefixes
from dataplane.steps import Put, Table, vip_flag
from dataplane.tables import (
    NO_VSERVER_FLAGS,
    RING_SLOTS,
    Count,
    HashField,
    IPAddress,
    PolicyEntry,
    Reason,
    VipFlag,
    VServerEntry,
    VServerFlag,
    VServerKey,
)

ROOT = Path(__file__).parents[2]
OWN_MAC = bytes.fromhex("02aa00000001")
VERDICTS = {7: "redirect", 0xFFFFFFFF: "pass", 2: "drop"}


def run(*command: str, timeout: float = 20) -> str:
    """Output of a command; its errors become the test's."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


# Keeps nothing shared between threads, unlike pyroute2's pushns and popns.
inside = netns.entered


@dataclass(frozen=True)
class Outcome:
    """What the forwarder did with a frame, and what it counted for it."""

    verdict: str
    reason: Reason
    frame: bytes
    count: Count


class Bench:
    """A loaded forwarder with a way to fill its tables and to send it frames."""

    def __init__(self, forwarder: loader.Forwarder, namespace: str) -> None:
        self.forwarder = forwarder
        self.maps = KernelMaps(forwarder.maps)
        self.namespace = namespace
        self.ifindex = int(run("ip", "-n", namespace, "-o", "link", "show", "eth0").split(":")[0])

    def put(self, table: Table, key: object, value: object) -> None:
        self.maps.apply(Put(table, key, value))

    def send(self, frame: bytes, *, probe: bool = False, segments: int = 0) -> Outcome:
        """Run hp_ingress (or hp_probe) on a frame that arrives at eth0, or an aggregate of ``segments`` frames."""
        context = bytearray(192)
        struct.pack_into("=I", context, 40, self.ifindex)
        if segments:
            struct.pack_into("=I", context, 164, segments)
            struct.pack_into("=I", context, 176, 1000)
        before = self.maps.reasons()
        with inside(self.namespace):
            fd = self.forwarder.probe_fd if probe else self.forwarder.ingress_fd
            done = run_program(fd, frame, bytes(context))
        after = self.maps.reasons()
        changed = [reason for reason in Reason if after[reason] != before[reason]]
        assert len(changed) == 1, f"one reason must be counted, not {changed}"
        packets = after[changed[0]].packets - before[changed[0]].packets
        size = after[changed[0]].bytes - before[changed[0]].bytes
        return Outcome(VERDICTS[done.verdict], changed[0], done.frame, Count(packets, size))

    def add_vserver(
        self,
        key: VServerKey,
        vserver_id: int,
        ring: bytes,
        *,
        fields: HashField = HashField.SOURCE,
        mask: IPAddress | None = None,
        flags: VServerFlag = NO_VSERVER_FLAGS,
        policy: PolicyEntry | None = None,
    ) -> None:
        """Put vserver and ring; the VIP gets the flag that the key needs, and ANSWER, and ranges their prefixes."""
        full = ip_address("255.255.255.255") if key.address.version == 4 else ip_address("f" * 4 + ":ffff" * 7)
        self.put(Table.RINGS, vserver_id, ring)
        if flags or policy:
            default = PolicyEntry(100 + vserver_id, idle_timeout=60, persist_timeout=60, persist_mask=full)
            self.put(Table.POLICIES, vserver_id, policy or default)
        self.put(Table.VSERVERS, key, VServerEntry(vserver_id, 100 + vserver_id, fields, mask or full, flags))
        present = self.maps.read()
        for prefix, ports in port_prefixes(present.vservers).items():
            self.put(Table.PORT_PREFIXES, prefix, ports)
        flag = present.vips.get(key.address, VipFlag.ANSWER) | vip_flag(key)
        self.put(Table.VIPS, key.address, flag)


def whole_ring(service: int) -> bytes:
    """A ring with one service."""
    return struct.pack("<H", service) * RING_SLOTS


def service_mac(service: int) -> bytes:
    return b"\x02\x5e\0\0" + struct.pack(">H", service)


EGRESS_MAC = bytes.fromhex("02bb00000001")
