"""Writes pcapng files, and reads single frames of pcap and pcapng files.

Format: draft-ietf-opsawg-pcapng; classic pcap: draft-ietf-opsawg-pcap. Times are in ns since 1970. Only Ethernet.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SECTION, _INTERFACE, _SIMPLE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 3, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1
_END, _COMMENT = 0, 1
_APPLICATION = 4
_NAME, _DESCRIPTION, _MAC, _RESOLUTION = 2, 3, 6, 9
_FLAGS = 2
_START_TIME, _END_TIME, _RECEIVED, _DROPPED = 2, 3, 4, 5
_NANOSECONDS = 9
INBOUND, OUTBOUND = 1, 2
# First four bytes of a classic file: byte order, microseconds or nanoseconds
_CLASSIC = {
    b"\xd4\xc3\xb2\xa1": "<",
    b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">",
    b"\xa1\xb2\x3c\x4d": ">",
}


@dataclass(frozen=True, slots=True)
class Source:
    """An interface of a file: what frames are said to come from. ``mac`` is 6 bytes, or empty."""

    name: str
    description: str = ""
    mac: bytes = b""


class Writer:
    """One section with its interfaces, frames and, at the end, statistics.

    Each method writes whole blocks and flushes none; the file is complete whenever no method is running.
    """

    def __init__(self, file: BinaryIO, sources: Sequence[Source], *, snaplen: int, application: str) -> None:
        self._file = file
        self._snaplen = snaplen
        self.size = 0
        options = _options((_APPLICATION, application.encode()))
        # The section's length is not known beforehand: -1 says so
        self._block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + options)
        for source in sources:
            options = _options(
                (_NAME, source.name.encode()),
                (_DESCRIPTION, source.description.encode()),
                (_MAC, source.mac),
                (_RESOLUTION, bytes([_NANOSECONDS])),
            )
            self._block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, snaplen) + options)

    def frame(self, source: int, time: int, frame: bytes, *, direction: int = 0, comment: str = "") -> None:
        """Write a frame of the source with this index, cut to the snap length."""
        kept = frame[: self._snaplen]
        flags = struct.pack("<I", direction) if direction else b""
        head = struct.pack("<IIIII", source, time >> 32, time & 0xFFFFFFFF, len(kept), len(frame))
        self._block(_PACKET, head + _padded(kept) + _options((_COMMENT, comment.encode()), (_FLAGS, flags)))

    def statistics(self, source: int, *, start: int, end: int, received: int, dropped: int) -> None:
        """Write what was counted for a source between two times."""
        options = _options(
            (_START_TIME, _time(start)),
            (_END_TIME, _time(end)),
            (_RECEIVED, struct.pack("<Q", received)),
            (_DROPPED, struct.pack("<Q", dropped)),
        )
        self._block(_STATISTICS, struct.pack("<I", source) + _time(end) + options)

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("<I", 12 + len(body))
        self.size += self._file.write(struct.pack("<I", kind) + length + body + length)


def _time(time: int) -> bytes:
    return struct.pack("<II", time >> 32, time & 0xFFFFFFFF)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(*options: tuple[int, bytes]) -> bytes:
    """Options with a value, and the end of options if there are any."""
    written = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options if value)
    return written + struct.pack("<HH", _END, 0) if written else b""


def read_frame(path: Path, number: int) -> bytes:
    """Frame ``number`` (from 1) of a pcap or pcapng file.

    Raises ValueError when there is no such frame, it was cut by the snap length, or is not Ethernet; OSError when the
    file cannot be read.
    """
    if number < 1:
        message = f"number: {number}: frames are counted from 1"
        raise ValueError(message)
    data = path.read_bytes()
    found = 0
    try:
        for link, frame, size in _classic(data) if data[:4] in _CLASSIC else _blocks(data):
            found += 1
            if found == number:
                return _whole(path, number, link, frame, size)
    except struct.error:
        message = f"{path}: the file ends within a block"
        raise ValueError(message) from None
    message = f"number: {number}: {path} has {found} frames"
    raise ValueError(message)


def _whole(path: Path, number: int, link: int, frame: bytes, size: int) -> bytes:
    if link != _ETHERNET:
        message = f"{path}: frame {number} has link type {link}; must be Ethernet ({_ETHERNET})"
        raise ValueError(message)
    if len(frame) != size:
        message = f"{path}: frame {number} was cut from {size} to {len(frame)} bytes; capture with a longer snaplen"
        raise ValueError(message)
    return frame


def _classic(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    order = _CLASSIC[data[:4]]
    (link,) = struct.unpack_from(f"{order}I", data, 20)
    position = 24
    while position < len(data):
        _seconds, _fraction, kept, size = struct.unpack_from(f"{order}IIII", data, position)
        position += 16 + kept
        yield link & 0xFFFF, data[position - kept : position], size


def _blocks(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Link type, frame and original size of each packet block of a pcapng file."""
    if data[:4] != struct.pack("<I", _SECTION):
        message = "neither a pcap nor a pcapng file"
        raise ValueError(message)
    position, order = 0, "<"
    links: list[int] = []
    while position < len(data):
        (kind,) = struct.unpack_from(f"{order}I", data, position)
        if kind == _SECTION:
            order = "<" if data[position + 8 : position + 12] == struct.pack("<I", _BYTE_ORDER) else ">"
            links = []
        (length,) = struct.unpack_from(f"{order}I", data, position + 4)
        if length < 12 or position + length > len(data):
            message = f"the block at byte {position} is damaged"
            raise ValueError(message)
        yield from _packets(kind, data[position + 8 : position + length - 4], order, links)
        position += length


def _packets(kind: int, body: bytes, order: str, links: list[int]) -> Iterator[tuple[int, bytes, int]]:
    if kind == _INTERFACE:
        links.append(struct.unpack_from(f"{order}H", body)[0])
    elif kind == _PACKET:
        source, _high, _low, kept, size = struct.unpack_from(f"{order}IIIII", body)
        yield links[source] if source < len(links) else -1, body[20 : 20 + kept], size
    elif kind == _SIMPLE:
        (size,) = struct.unpack_from(f"{order}I", body)
        yield links[0] if links else -1, body[4 : 4 + size], size
