"""The harness object in the kernel: gives a program frame after frame, and measures it."""

from __future__ import annotations

import ctypes as c
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataplane.bench.configurations import Flow, frame
from dataplane.bench.sandbox import NEAR_IFINDEX, NEAR_MAC, BenchError
from dataplane.kernel.abi import TestRunOptions, lib
from dataplane.kernel.libbpf import BpfObject, Map, possible_cpus

PROGRAMS = ("restore", "nothing", "floor")
_CLIENT_MAC = b"\x02\x77\0\0\0\x64"
_LIVE_FRAMES = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES
_SK_BUFF_SIZE, _SK_BUFF_IFINDEX = 192, 40  # struct __sk_buff
_XDP_MD = struct.Struct("=6I")


@dataclass(slots=True)
class Harness:
    """Loaded programs and maps of bpf/harness.bpf.c. Descriptors belong to it until close()."""

    maps: dict[str, Map]
    programs: dict[str, int]
    _frame: bytes = b""

    def close(self) -> None:
        """Give everything back."""
        for opened in self.maps.values():
            opened.close()
        for fd in self.programs.values():
            os.close(fd)
        self.maps.clear()
        self.programs.clear()

    def use(self, flows: Sequence[Flow]) -> None:
        """Send these flows from now on, one frame of each in turn. Their number must be a power of two."""
        if not flows or len(flows) & (len(flows) - 1) or len(flows) > self.maps["flows"].max_entries:
            limit = self.maps["flows"].max_entries
            raise ValueError(f"{len(flows)} flows: must be a power of two, at most {limit}")
        for index, flow in enumerate(flows):
            self.maps["flows"].update(struct.pack("=I", index), flow.packed())
        ipv6 = flows[0].source.version == 6
        state = struct.pack("=III", 0, len(flows) - 1, ipv6) + NEAR_MAC + _CLIENT_MAC
        self.maps["run"].update(bytes(4), state)
        self._frame = frame(flows[0])

    def run(self, kind: str, target: int, frames: int, *, restored: bool = True) -> float:
        """Seconds of CPU time for ``frames`` frames through program ``target``, a descriptor.

        ``kind`` is tc or xdp. Unless ``restored`` is False, restore_* comes before each.
        """
        context = self._tc_context() if kind == "tc" else self._xdp_context()
        if not restored:
            return _test_run(target, self._frame, context, frames)
        self.maps[f"target_{kind}"].update(bytes(4), struct.pack("=I", target))
        return _test_run(self.programs[f"restore_{kind}"], self._frame, context, frames)

    def receive(self, frames: int) -> float:
        """Let the interface ``near`` receive that many frames; seconds of CPU time until all are dealt with."""
        return _test_run(self.programs["generate"], self._frame, self._xdp_context(), frames, live=True)

    def _tc_context(self) -> bytes:
        context = bytearray(_SK_BUFF_SIZE)
        struct.pack_into("=I", context, _SK_BUFF_IFINDEX, NEAR_IFINDEX)
        return bytes(context)

    def _xdp_context(self) -> bytes:
        return _XDP_MD.pack(0, len(self._frame), 0, NEAR_IFINDEX, 0, 0)

    def delivered(self) -> dict[int, int]:
        """Frames that the far end counted, by last byte of the destination MAC."""
        counts = {}
        size = 8 * possible_cpus()
        for index in range(self.maps["delivered"].max_entries):
            data = self.maps["delivered"].lookup(struct.pack("=I", index), size) or b""
            if number := sum(struct.unpack(f"={len(data) // 8}Q", data)):
                counts[index] = number
        return counts


def load(object_path: Path) -> Harness:
    """Load the harness. Raises OSError when the kernel refuses."""
    bpf_object = BpfObject(object_path)
    try:
        bpf_object.load()
        names = [*(f"{name}_{kind}" for name in PROGRAMS for kind in ("tc", "xdp")), "sink_tc", "generate"]
        return Harness(
            {shape.name: Map(bpf_object.map_fd(shape.name)) for shape in bpf_object.shapes()},
            {name: bpf_object.program_fd(name) for name in names},
        )
    finally:
        bpf_object.close()


def _test_run(fd: int, data: bytes, context: bytes, repeat: int, *, live: bool = False) -> float:
    """CPU time of this thread: what others on this CPU take meanwhile does not count."""
    frame_in, context_in = c.create_string_buffer(data, len(data)), c.create_string_buffer(context, len(context))
    options = TestRunOptions(
        sz=c.sizeof(TestRunOptions),
        data_in=c.addressof(frame_in),
        data_size_in=len(data),
        ctx_in=c.addressof(context_in),
        ctx_size_in=len(context),
        repeat=repeat,
        flags=_LIVE_FRAMES if live else 0,
    )
    started = time.thread_time()
    result = lib.bpf_prog_test_run_opts(fd, c.byref(options))
    taken = time.thread_time() - started
    if result < 0:
        raise BenchError(f"BPF_PROG_TEST_RUN was refused: {os.strerror(-result)}")
    return taken
