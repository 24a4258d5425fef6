"""Whether a frame gets lost while the configuration changes, the worker is killed, and the forwarder is replaced.

Numbered frames of both families come in at ``near`` at an even rate and are looked for, one by one, behind ``egress``.
They are sent from the other end of ``near`` (packet(7)); the CPU that sends one carries it to the far end before it
sends the next, so that no queue can overflow. The interfaces tell if one has all the same. The worker is another
process, on another CPU, and makes real rounds.
"""

from __future__ import annotations

import ctypes as c
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from pyroute2 import IPRoute

from dataplane.bench import configurations
from dataplane.bench.changes import USED_VIPS
from dataplane.bench.changing import READY
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import FAR, BenchError, run
from dataplane.kernel.assemble import remove_everything
from dataplane.kernel.filters import EGRESS_PARENT, INGRESS_PARENT, ensure_filter, remove_filter
from dataplane.kernel.libbpf import BpfObject, Map
from dataplane.kernel.loader import xdp_object
from dataplane.lab.netns import entered

CHANGES = 1000
RATE = 102_000  # a little more than the goal, which starting and stopping cost
GOAL = 100_000
KILLS = 3
SWITCH_EVERY = 25
TICK_SECONDS = 0.002
LATE_SECONDS = 1.0
FAMILIES = (4, 6)
FLOWS, MAX_FRAMES, CHUNK = 4096, 1 << 24, 4096  # of bpf/loss.bpf.c
_SOURCES = Path(__file__).parents[1] / "bpf"
_CLIENT = "client"  # the other end of ``near``
_ENDS = ((None, _CLIENT), (None, "near"), (None, "egress"), (FAR, "server"))
_SIOCETHTOOL, _SGRO, _STXCSUM = 0x8946, 0x2C, 0x17  # linux/sockios.h, linux/ethtool.h
_MARK = 0x48616C66
_libc = c.CDLL(None, use_errno=True)

Disturbance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens while frames come at ``rate`` a second.

    ``changes`` one after the other, a kill -9 of the worker at ``kills`` moments among the first two thirds, and before
    the last third another forwarder, with maps of another shape. ``others`` are called then, by name; each must return
    when it is done. After each ``switch_every`` changes tc and XDP take turns; 0: tc does all.
    """

    changes: int = CHANGES
    rate: int = RATE
    kills: int = KILLS
    switch_every: int = SWITCH_EVERY
    others: Sequence[tuple[str, Disturbance]] = ()


@dataclass(slots=True)
class Traffic:
    """Loaded programs and maps of bpf/loss.bpf.c. Descriptors belong to it until close()."""

    maps: dict[str, Map]
    programs: dict[str, int]

    def close(self) -> None:
        """Give everything back."""
        for opened in self.maps.values():
            opened.close()
        for fd in self.programs.values():
            os.close(fd)

    def prepare(self) -> None:
        """Clients of every used VIP, both families."""
        for family, version in enumerate(FAMILIES):
            flows = configurations.flows(FLOWS, USED_VIPS, version)
            for index, flow in enumerate(flows, start=family * FLOWS):
                self.maps["flows"].update(struct.pack("=I", index), flow.packed())
            self.maps["sent"].update(struct.pack("=I", family), bytes(4))

    def send(self, rate: int, stop: Event) -> None:
        """Half of ``rate`` of each family until ``stop``. What is late is made up for, unless it is very late."""
        parent = os.getppid()
        due = time.monotonic()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
            link.bind((_CLIENT, 0))
            batches = [Batch(_frame(version), round(rate * TICK_SECONDS / len(FAMILIES))) for version in FAMILIES]
            while not stop.is_set() and os.getppid() == parent:
                for batch in batches:
                    batch.send(link)
                due = max(due + TICK_SECONDS, time.monotonic() - LATE_SECONDS)
                time.sleep(max(0.0, due - time.monotonic()))

    def sent(self) -> list[int]:
        """Frames of each family."""
        found = [self.maps["sent"].lookup(struct.pack("=I", family)) or bytes(4) for family in range(len(FAMILIES))]
        return [int.from_bytes(number, sys.byteorder) for number in found]

    def arrived(self) -> bytes:
        """How often each number arrived; the numbers of IPv6 begin at MAX_FRAMES."""
        return self.maps["chunks"].dump()[1]


class Batch:
    """So many copies of a frame, sent by one call to the kernel (sendmmsg(2))."""

    def __init__(self, frame: bytes, size: int) -> None:
        self._frame = c.create_string_buffer(frame, len(frame))
        self._vector = _Vector(c.addressof(self._frame), len(frame))
        self._messages = (_Message * size)()
        for message in self._messages:
            message.vector, message.vectors = c.addressof(self._vector), 1

    def send(self, link: socket.socket) -> None:
        """Send all of them. Raises OSError."""
        done = 0
        while done < len(self._messages):
            first = c.byref(self._messages, done * c.sizeof(_Message))
            sent = _libc.sendmmsg(link.fileno(), first, len(self._messages) - done, 0)
            if sent < 0:
                raise OSError(c.get_errno(), os.strerror(c.get_errno()))
            done += sent


class _Vector(c.Structure):
    """``struct iovec``."""

    _fields_ = [("base", c.c_void_p), ("length", c.c_size_t)]


class _Message(c.Structure):
    """``struct mmsghdr``."""

    _fields_ = [
        ("name", c.c_void_p),
        ("name_length", c.c_uint32),
        ("vector", c.c_void_p),
        ("vectors", c.c_size_t),
        ("control", c.c_void_p),
        ("control_length", c.c_size_t),
        ("flags", c.c_int),
        ("length", c.c_uint),
    ]


def _frame(version: int) -> bytes:
    """A frame that ``number`` of bpf/loss.bpf.c takes for one of ours."""
    frame = bytearray(configurations.frame(configurations.flows(1, 1, version)[0]))
    struct.pack_into(">I", frame, (34 if version == 4 else 54) + 8, _MARK)
    return bytes(frame)


def load(object_path: Path) -> Traffic:
    """Load generator and sink. Raises OSError when the kernel refuses."""
    bpf_object = BpfObject(object_path)
    try:
        bpf_object.load()
        names = ("number", "sink")
        return Traffic(
            {shape.name: Map(bpf_object.map_fd(shape.name)) for shape in bpf_object.shapes()},
            {name: bpf_object.program_fd(name) for name in names},
        )
    finally:
        bpf_object.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Frames by what became of them. ``overflowed`` found no room behind the forwarder; ``missing`` are the others."""

    sent: int
    missing: int
    doubled: int
    overflowed: int
    seconds: float
    drops: dict[str, int]  # by reason, as far as the forwarder's counters outlived it


def measure(object_path: Path, loss_object: Path, folder: Path, plan: Plan) -> list[Figure]:
    """Frames lost, with all that led to it, and frames a second. ``folder``, in a bpffs, takes pins.

    Raises BenchError when something else went wrong, and OSError.
    """
    upgraded = object_path.with_name(f"upgraded-{os.getpid()}.o")
    traffic = load(loss_object)
    try:
        upgrade(upgraded)
        traffic.prepare()
        if plan.switch_every:
            _prepare_for_xdp()
        with _attached(traffic):
            found = _disturbed(traffic, plan, (object_path, upgraded), folder)
    finally:
        traffic.close()
        upgraded.unlink(missing_ok=True)
        xdp_object(upgraded).unlink(missing_ok=True)
        remove_everything(folder)
    names = [f"{plan.changes:,} changes", f"{plan.kills} × kill -9", "an upgrade", *(name for name, _ in plan.others)]
    if plan.switch_every:
        names.append(f"{plan.changes // plan.switch_every} × tc↔XDP")
    raw = {
        "sent": found.sent,
        "twice": found.doubled,
        "full queue": found.overflowed,
        "changes/s": plan.changes / found.seconds,
        "s": found.seconds,
    }
    rate = found.sent / found.seconds
    return [
        Figure("loss", f"lost, {', '.join(names)}", "frames", found.missing, goal=Goal("≤", 0), raw=raw | found.drops),
        Figure("loss", "frames a second meanwhile", "/s", rate, goal=Goal("≥", GOAL)),
    ]


def upgrade(target: Path) -> None:
    """The forwarder as another version might be: its maps have another shape, so none can be taken over."""
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    flags = ("-O2", "-g", "-target", "bpf", include, "-DMAX_VIPS=2048")
    for source, made in (("forward.bpf.c", target), ("forward_xdp.bpf.c", xdp_object(target))):
        run("clang", *flags, "-c", str(_SOURCES / source), "-o", str(made))


def _disturbed(traffic: Traffic, plan: Plan, objects: tuple[Path, Path], folder: Path) -> Outcome:
    """Send frames all the while; the worker must have been ready before the first."""
    kills = [plan.changes * (number + 1) * 2 // (3 * (plan.kills + 1)) for number in range(plan.kills)]
    last = plan.changes * 2 // 3
    worker, at = Worker(objects[0], folder, 0, last, plan.switch_every), 0
    drops: Counter[str] = Counter()
    before, started = _overflowed(), time.monotonic()
    with _sending(traffic, plan.rate):
        for moment in kills:
            at = worker.follow(until=moment)
            worker.kill()
            # What was under way may be in the kernel, wholly or in part
            worker = Worker(objects[0], folder, at, last, plan.switch_every)
        drops.update(worker.finish())
        worker = Worker(objects[1], folder, last, plan.changes, plan.switch_every)
        for _name, disturb in plan.others:
            disturb()
        drops.update(worker.finish())
    seconds = time.monotonic() - started
    overflowed = _overflowed() - before
    counts, sent = traffic.arrived(), traffic.sent()
    parts = [counts[family * MAX_FRAMES :][:number] for family, number in enumerate(sent)]
    none = sum(part.count(0) for part in parts)
    twice = sum(len(part) - part.count(0) - part.count(1) for part in parts)
    return Outcome(sum(sent), none - min(none, overflowed), twice, overflowed, seconds, dict(drops))


class Worker:
    """``python -m dataplane.bench.changing``, ready: the kernel forwards by its tables."""

    def __init__(self, object_path: Path, pin_dir: Path, first: int, last: int, switch_every: int) -> None:
        paths = ("--object", str(object_path), "--pin-dir", str(pin_dir))
        options = (*paths, "--first", str(first), "--last", str(last), "--switch-every", str(switch_every))
        self.at, self.last = first, last
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dataplane.bench.changing", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # The bench itself keeps to one CPU, where the frames are: changes come from elsewhere
        os.sched_setaffinity(self._process.pid, range(os.cpu_count() or 1))
        if self._line() != READY:
            raise BenchError("the worker began with something else than its first round")

    def _line(self) -> str:
        line = self._process.stdout.readline().strip() if self._process.stdout else ""
        if not line or (line.startswith("{") and self.at != self.last):
            raise BenchError(f"the worker ended at change {self.at}: {self._process.communicate()[1].strip()[-400:]}")
        return line

    def follow(self, until: int) -> int:
        """Wait for that change; returns its number."""
        while self.at < until:
            self.at = int(self._line())
        return self.at

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def finish(self) -> dict[str, int]:
        """Wait for all changes; frames dropped by this forwarder, by reason. Raises BenchError when a change failed."""
        line = self._line()
        while line.isdigit():
            self.at = int(line)
            line = self._line()
        _, said = self._process.communicate()
        if self._process.returncode:
            raise BenchError(f"the worker failed: {said.strip()[-400:]}")
        return {reason: number for reason, number in json.loads(line).items() if reason.startswith("DROP")}


@contextmanager
def _sending(traffic: Traffic, rate: int) -> Iterator[None]:
    """Frames arrive during the block, and all that were sent have been dealt with after it."""
    context = multiprocessing.get_context("fork")  # the programs' descriptors go along
    stop = context.Event()
    sender = context.Process(target=traffic.send, args=(rate, stop))
    sender.start()
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # not behind the sender, which stays where the bench is
    try:
        while sender.is_alive() and not sum(traffic.sent()):
            time.sleep(TICK_SECONDS)
        yield
        if not sender.is_alive():
            raise BenchError(f"the generator ended too early, with code {sender.exitcode}")
        if max(traffic.sent()) >= MAX_FRAMES:
            raise BenchError(f"the generator has no more than {MAX_FRAMES} numbers for a family")
    finally:
        stop.set()
        sender.join()
        os.sched_setaffinity(0, pinned)
    time.sleep(0.1)


def _prepare_for_xdp() -> None:
    """What XDP needs of veth interfaces: ends that poll (GRO on), and no checksums left for hardware to finish."""
    for namespace, name in _ENDS:
        with entered(namespace) if namespace else nullcontext():
            _offload(name, _SGRO, on=True)
            _offload(name, _STXCSUM, on=False)


def _offload(interface: str, command: int, *, on: bool) -> None:
    """``ethtool -K``. Raises OSError."""
    value = c.create_string_buffer(struct.pack("=II", command, on), 8)
    request = struct.pack("@16sP16x", interface.encode(), c.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


@contextmanager
def _attached(traffic: Traffic) -> Iterator[None]:
    """Number what leaves ``client``, and count at the servers' interface."""
    places = ((None, _CLIENT, EGRESS_PARENT, "number"), (FAR, "server", INGRESS_PARENT, "sink"))
    with ExitStack() as stack:
        for namespace, interface, parent, program in places:
            place = entered(namespace) if namespace else nullcontext()
            with place, IPRoute() as ip:
                ifindex = ip.link_lookup(ifname=interface)[0]
                ensure_filter(ip, ifindex, parent, traffic.programs[program], f"bench_{program}")
            stack.callback(_detach, namespace, ifindex, parent, f"bench_{program}")
        yield


def _detach(namespace: str | None, ifindex: int, parent: int, name: str) -> None:
    with entered(namespace) if namespace else nullcontext(), IPRoute() as ip:
        remove_filter(ip, ifindex, parent, name)


def _overflowed() -> int:
    """Frames that an interface could not hand to its other end, because the queue of the CPU there was full."""
    links = [json.loads(run("ip", "-json", "-stats", "link", "show", name))[0] for name in (_CLIENT, "egress")]
    return sum(int(link["stats64"]["tx"]["dropped"]) for link in links)
