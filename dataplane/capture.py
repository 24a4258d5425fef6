"""A vserver's frames on both sides of the rewrite, chosen, paired and written; dataplane/kernel/capture.py hears them.

"Before" is a frame for the vserver as it arrives, "after" one as it leaves to a server. A pair is the same frame on
both sides: equal but for the MACs and VLAN tags, which is all that Direct Server Return may change.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from dataplane.dissect import EXTENSIONS, IPV4, IPV6, TAGS, Packet, dissect, find_vserver, without_macs
from dataplane.pcapng import INBOUND, OUTBOUND, Source, Writer
from dataplane.ports import Interface
from dataplane.tables import IPAddress, VServerKey

# After the last frame that may be taken in, so long is waited for it to leave.
GRACE_SECONDS = 0.25
_FRAGMENTS_KEPT = 4096
_ACCEPT = 0xFFFFFFFF
_MAX_FILTERED_INTERFACES = 64

Instruction = tuple[int, int, int, int]
"""One of classic BPF (linux/filter.h): code, jump if true, jump if false, k."""


class Side(StrEnum):
    """Which side of the rewrite a frame was seen on."""

    BEFORE = "before"
    AFTER = "after"


class LimitError(ValueError):
    """A limit outside its bounds; the message names it, the value and the rule."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a capture ends: ``count`` frames of each side, or ``size`` bytes of file, or ``seconds``.

    Frames of more than ``snaplen`` bytes are cut.
    """

    count: int = 1000
    seconds: float = 60.0
    snaplen: int = 65535
    size: int = 64 << 20

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("count", self.count, 1, 1_000_000),
            ("seconds", self.seconds, 0.1, 86_400),
            ("snaplen", self.snaplen, 64, 262_144),
            ("bytes", self.size, 4096, 4 << 30),
        ):
            if not low <= value <= high:
                message = f"{name}: {value}: must be {low} to {high}"
                raise LimitError(message)


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame on an interface: time in ns since 1970, and whether it was leaving."""

    time: int
    interface: str
    outgoing: bool
    frame: bytes


@dataclass(slots=True)
class Summary:
    """What a capture has; ``size`` is the file's, in bytes.

    ``own`` are frames of the director itself, left out; ``lost`` those that the kernel could not hold until they were
    read.
    """

    before: int = 0
    after: int = 0
    pairs: int = 0
    own: int = 0
    lost: int = 0
    size: int = 0


class Selector:
    """Chooses one vserver's frames among ``keys``, those of all vservers, by the forwarder's precedence."""

    def __init__(self, wanted: VServerKey, keys: Collection[VServerKey]) -> None:
        self._wanted = wanted
        self._keys = frozenset(key for key in keys if key.address == wanted.address) | {wanted}
        self._first: OrderedDict[tuple[object, ...], bool] = OrderedDict()

    def matches(self, packet: Packet) -> bool:
        """Whether the packet is the vserver's. A later fragment is if the first of its packet was."""
        if packet.destination != self._wanted.address:
            return False
        if not packet.fragment:
            return find_vserver(packet, self._keys) == self._wanted
        identity = (packet.source, packet.protocol, packet.fragment_id)
        if packet.later and identity in self._first:
            return self._first[identity]
        found = find_vserver(packet, self._keys) == self._wanted
        if not packet.later:
            self._first[identity] = found
            if len(self._first) > _FRAGMENTS_KEPT:
                self._first.popitem(last=False)
        return found


class Capture:
    """Takes frames and writes those of the vserver, until a limit is reached.

    Both sides of each of ``interfaces`` become interfaces of the file, named "eth0 before" and "eth0 after". Frames
    from ``own`` addresses are the director's health checks, which are no clients' frames, and are counted only.
    """

    def __init__(
        self,
        writer: Writer,
        selector: Selector,
        *,
        interfaces: Sequence[Interface],
        limits: Limits,
        own: Collection[IPAddress] = (),
    ) -> None:
        self._writer = writer
        self._selector = selector
        self._own = frozenset(own)
        self._limits = limits
        names = [(item.name, side) for item in interfaces for side in Side]
        self._sources = {name: index for index, name in enumerate(names)}
        self._received = [0] * len(names)
        self._waiting: dict[bytes, deque[int]] = {}
        self.summary = Summary(size=writer.size)

    @property
    def ended_by(self) -> str:
        """The limit that is reached, "" while none is. Count alone leaves room for what has yet to leave."""
        if self.summary.size >= self._limits.size:
            return "size"
        return "count" if self.summary.after >= self._limits.count else ""

    @property
    def is_full(self) -> bool:
        """Whether no further frame is taken in on the way in."""
        return self.summary.before >= self._limits.count

    def take(self, seen: Seen) -> bool:
        """Write the frame if it is wanted; tells whether it was."""
        side = Side.AFTER if seen.outgoing else Side.BEFORE
        source = self._sources.get((seen.interface, side))
        if source is None or len(seen.frame) < 14 or self.ended_by or (side is Side.BEFORE and self.is_full):
            return False
        packet = dissect(seen.frame)
        if not self._selector.matches(packet):
            return False
        if packet.source in self._own:
            self.summary.own += 1
            return False
        number = self._pair(side, seen.frame)
        self._writer.frame(
            source,
            seen.time,
            seen.frame,
            direction=OUTBOUND if seen.outgoing else INBOUND,
            comment=f"frame {number}" if number else "",
        )
        self._received[source] += 1
        self.summary.size = self._writer.size
        return True

    def _pair(self, side: Side, frame: bytes) -> int:
        """Count the frame; the number that it has on both sides, 0 if it leaves and was not seen before."""
        identity = blake2b(without_macs(frame), digest_size=16).digest()
        if side is Side.BEFORE:
            self.summary.before += 1
            self._waiting.setdefault(identity, deque()).append(self.summary.before)
            return self.summary.before
        self.summary.after += 1
        waiting = self._waiting.get(identity)
        if not waiting:
            return 0
        number = waiting.popleft()
        if not waiting:
            del self._waiting[identity]
        self.summary.pairs += 1
        return number

    def finish(self, *, start: int, end: int, dropped: int) -> None:
        """Write the statistics; times in ns, ``dropped`` as the kernel counts it for all sides together."""
        for source, received in enumerate(self._received):
            self._writer.statistics(source, start=start, end=end, received=received, dropped=dropped)
        self.summary.lost, self.summary.size = dropped, self._writer.size


def sources(interfaces: Sequence[Interface]) -> list[Source]:
    """The file's interfaces, in the order that :class:`Capture` counts on."""
    words = {Side.BEFORE: "as received from clients", Side.AFTER: "as sent to servers"}
    return [Source(f"{item.name} {side}", words[side], item.mac) for item in interfaces for side in Side]


def packet_filter(key: VServerKey, ifindexes: Collection[int]) -> list[Instruction]:
    """Classic BPF program that passes at least all of the vserver's frames, and little else.

    Runs on the frame from its destination MAC on. What it cannot judge (extension headers, later fragments, tags
    within the frame) goes through, since :class:`Selector` looks at each frame once more.
    """
    program = _Program()
    program.load("packet type")
    program.one_of((0, 4))  # PACKET_HOST, PACKET_OUTGOING (linux/if_packet.h)
    if 0 < len(ifindexes) <= _MAX_FILTERED_INTERFACES:
        program.load("interface")
        program.one_of(tuple(ifindexes))
    program.load("half", 12)
    for tag in TAGS:
        program.accept_if(tag)
    if key.address.version == 4:
        _filter_ipv4(program, key)
    else:
        _filter_ipv6(program, key)
    return program.finish()


def _filter_ipv4(program: _Program, key: VServerKey) -> None:
    program.require(IPV4)
    program.load("word", 30)
    program.require(int(key.address))
    if key.protocol:
        program.load("byte", 23)
        program.require(key.protocol)
    if key.port:
        program.load("half", 20)
        program.accept_if_set(0x1FFF)
        program.load_header_length(14)
        program.load("half behind header", 16)
        program.require_port(key)


def _filter_ipv6(program: _Program, key: VServerKey) -> None:
    program.require(IPV6)
    for offset in range(0, 16, 4):
        program.load("word", 38 + offset)
        program.require(int.from_bytes(key.address.packed[offset : offset + 4], "big"))
    if key.protocol or key.port:
        program.load("byte", 20)
        for extension in sorted(EXTENSIONS):
            program.accept_if(extension)
        if key.protocol:
            program.require(key.protocol)
    if key.port:
        program.load("half", 56)
        program.require_port(key)


class _Program:
    """Writes straight down; every test leads on, to "accept" or to "drop", which stand at the end."""

    _LOADS = {
        "byte": (0x30, 0),
        "half": (0x28, 0),
        "word": (0x20, 0),
        "half behind header": (0x48, 0),
        # Ancillary data stand at SKF_AD_OFF, far behind any frame (linux/filter.h)
        "packet type": (0x20, 0xFFFFF004),
        "interface": (0x20, 0xFFFFF008),
    }
    _JUMP_EQUAL, _JUMP_SET, _RETURN, _HEADER_LENGTH = 0x15, 0x45, 0x06, 0xB1
    _JUMP_GREATER, _JUMP_NOT_LESS = 0x25, 0x35
    _ON, _DROP, _TAKE, _SKIP = "on", "drop", "accept", "skip"

    def __init__(self) -> None:
        self._lines: list[tuple[int, str, str, int]] = []
        self._skips: dict[int, int] = {}

    def load(self, what: str, offset: int = 0) -> None:
        code, base = self._LOADS[what]
        self._lines.append((code, self._ON, self._ON, base + offset))

    def load_header_length(self, offset: int) -> None:
        self._lines.append((self._HEADER_LENGTH, self._ON, self._ON, offset))

    def require(self, value: int) -> None:
        self._lines.append((self._JUMP_EQUAL, self._ON, self._DROP, value))

    def require_port(self, key: VServerKey) -> None:
        if not key.port_end:
            self.require(key.port)
            return
        self._lines.append((self._JUMP_NOT_LESS, self._ON, self._DROP, key.port))
        self._lines.append((self._JUMP_GREATER, self._DROP, self._ON, key.port_end))

    def one_of(self, values: Sequence[int]) -> None:
        end = len(self._lines) + len(values)
        for value in values[:-1]:
            self._skips[len(self._lines)] = end
            self._lines.append((self._JUMP_EQUAL, self._SKIP, self._ON, value))
        self._lines.append((self._JUMP_EQUAL, self._ON, self._DROP, values[-1]))

    def accept_if(self, value: int) -> None:
        self._lines.append((self._JUMP_EQUAL, self._TAKE, self._ON, value))

    def accept_if_set(self, mask: int) -> None:
        self._lines.append((self._JUMP_SET, self._TAKE, self._ON, mask))

    def finish(self) -> list[Instruction]:
        accept = len(self._lines)
        places = {self._TAKE: accept, self._DROP: accept + 1}

        def distance(index: int, target: str) -> int:
            if target == self._ON:
                return 0
            return (self._skips[index] if target == self._SKIP else places[target]) - index - 1

        program = [
            (code, distance(index, true), distance(index, false), k)
            for index, (code, true, false, k) in enumerate(self._lines)
        ]
        return [*program, (self._RETURN, 0, 0, _ACCEPT), (self._RETURN, 0, 0, 0)]
